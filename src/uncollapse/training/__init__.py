"""Training: the one loop, and what can be saved of it."""
