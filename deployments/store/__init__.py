"""The fleet store: what must outlive every process, in SQL."""
