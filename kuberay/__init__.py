"""Manifests for KubeRay, and what is checked of them."""
