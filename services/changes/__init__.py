"""Changes: who is in another segment than before, for those who have to act on it."""
