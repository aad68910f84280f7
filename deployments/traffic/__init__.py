"""Which version answers a request: pure values and functions."""
