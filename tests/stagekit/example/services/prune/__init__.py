"""prune: remove the folders of old runs."""
