"""What each room is made of: one function for each capability; tests give it twins."""
