"""Use cases: take turns and feedback in, keep what the log brings, find conversations."""
