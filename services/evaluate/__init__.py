"""evaluate: score every k, choose the number of segments, label new customers."""
