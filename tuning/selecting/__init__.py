"""Picks a trial across sweeps by declared rules, and registers it."""
