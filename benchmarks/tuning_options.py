"""The command line of `benchmarks.tuning`, apart from what it imports to measure."""

import argparse
from collections.abc import Mapping

TRIALS: Mapping[str, int] = {"overhead": 1000, "growth": 10_000, "crowd": 128, "tune": 100}
"""Measurements, and how many trials each has unless told otherwise."""


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """Build the parser."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("what", nargs="?", choices=TRIALS, default="overhead")
    made.add_argument("--trials", type=int, metavar="N")
    return made
