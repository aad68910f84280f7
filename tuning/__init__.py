"""The training side: sweeps on Ray Tune that end in registered model versions."""
