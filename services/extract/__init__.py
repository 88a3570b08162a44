"""extract: read the customer table and keep each customer once."""
