"""The stages of the customer segmentation, one package and one container image each."""
