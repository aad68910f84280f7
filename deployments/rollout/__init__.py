"""How a new version earns its traffic: pure values and functions."""
