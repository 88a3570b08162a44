"""Prune: a stage that removes the folders of old runs, for any pipeline."""
