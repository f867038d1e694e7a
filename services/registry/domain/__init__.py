"""Types and pure rules of the registry."""
