"""Stored completions: chats that were asked for with `store: true`, by their completion's id."""
