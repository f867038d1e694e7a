"""Use cases: accept turns and feedback, store what arrives from the log, find conversations."""
