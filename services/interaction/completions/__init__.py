"""Stored completions: chats requested with `store: true`, by their completion's id."""
