"""Requests per second of Rayfleet, a peer and the limit, on one model in one run."""
