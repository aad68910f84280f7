"""A page about a finished sweep that needs nothing but a browser."""
