"""What is accepted, how conversations are asked for, what a word is."""
