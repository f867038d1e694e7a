"""What is accepted, how conversations are queried, what a word is."""
