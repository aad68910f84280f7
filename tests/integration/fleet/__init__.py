"""Tests on one cluster, which ends with the last of them: a package ends its own fixtures."""
