"""Simulated rollouts, and rules that judge thousands of them at once."""
