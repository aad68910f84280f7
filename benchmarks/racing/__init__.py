"""How often the race between folds stops the true best trial, in simulated sweeps."""
