"""Use cases of the gateway: answer a chat, record it, accept batches."""
