"""OpenAI's Responses API as chat, in the part that chat applications use."""
