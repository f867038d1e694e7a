"""Anthropic's Messages API as chat: requests in, answers and errors out."""
