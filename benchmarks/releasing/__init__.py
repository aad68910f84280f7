"""Parts of the benchmark of rollouts."""
