"""Mean temperature of each station."""
