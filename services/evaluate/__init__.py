"""evaluate: find the elbow and label new customers."""
