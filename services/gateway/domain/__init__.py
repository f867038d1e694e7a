"""Pure rules: which version answers whom, and what is logged of an exchange."""
