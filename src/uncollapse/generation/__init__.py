"""Generation: from codes to sentences."""
