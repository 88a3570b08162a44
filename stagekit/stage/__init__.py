"""How a stage starts, runs and exits."""
