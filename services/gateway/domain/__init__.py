"""Who is answered by which version, and what an exchange leaves to be logged: pure rules."""
