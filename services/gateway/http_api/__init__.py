"""The HTTP edge: keys, bodies, routes and errors in the form OpenAI's clients know."""
