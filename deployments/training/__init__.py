"""Sweeps as Ray jobs: submitted as a command line, watched through MLflow, never imported."""
