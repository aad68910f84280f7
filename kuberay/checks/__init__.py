"""What the schemas of Kubernetes cannot check: pure functions over parsed objects."""
