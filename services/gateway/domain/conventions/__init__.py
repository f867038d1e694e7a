"""How instrumentations write a call to a model into a span: one file for each convention, one table of them."""
