"""prune: remove the folders of old runs (stagekit/prune)."""
