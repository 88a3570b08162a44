"""What is stored on the volume and how: artifacts, manifests, publications."""
