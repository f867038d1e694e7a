"""The HTTP edge: keys, bodies, routes and errors as OpenAI's clients expect them."""
