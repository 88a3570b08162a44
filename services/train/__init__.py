"""train: fit K-Means for every number of clusters."""
