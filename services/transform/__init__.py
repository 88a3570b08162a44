"""transform: turn customers into standardised features."""
