"""segment: say who is in which segment, keep segments recognisable over time, put them in force."""
