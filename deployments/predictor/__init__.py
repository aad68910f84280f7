"""The replica that holds one version, and the native runtimes behind it."""
