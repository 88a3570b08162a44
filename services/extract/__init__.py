"""extract: read, check and deduplicate the customer table."""
