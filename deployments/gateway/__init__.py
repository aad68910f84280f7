"""The ingress: raw ASGI in, a routing table to act on, batches out."""
