"""Side-by-side measurements against peers; never run as tests."""
