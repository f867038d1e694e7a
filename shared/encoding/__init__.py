"""Sentence vectors, for the services that learn from texts."""
