"""How fast the pipeline is beside the literal lab, and how good the answers are: `make bench`."""
