"""Prune: the folders of old runs, for a volume that must not fill."""
