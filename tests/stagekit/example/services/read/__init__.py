"""read: validate the readings."""
