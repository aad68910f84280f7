"""The command lines of `benchmarks.tuning` and its neighbours, apart from what they import."""

import argparse
from collections.abc import Mapping

TRIALS: Mapping[str, int] = {"overhead": 1000, "growth": 10_000, "crowd": 128, "tune": 100}
"""Measurements, and how many trials each has unless told otherwise."""

REACHED = ("breast-cancer", "digits", "breast-cancer-boosting", "digits-boosting", "digits-net")
"""Problems on which `benchmarks.reaching` compares."""


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of `benchmarks.tuning`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("what", nargs="?", choices=TRIALS, default="overhead")
    made.add_argument("--trials", type=int, metavar="N")
    return made


def reaching_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of `benchmarks.reaching`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", nargs="+", choices=REACHED, default=REACHED)
    made.add_argument("--seeds", type=int, default=5, metavar="N")
    made.add_argument("--trials", type=int, default=40, metavar="N", help="most of each sweep")
    return made


def nodes_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of `benchmarks.nodes`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--trials", type=int, default=24, metavar="N")
    made.add_argument("--rounds", type=int, default=3, metavar="N")
    made.add_argument("--work", type=int, default=12_000_000, metavar="N", help="steps of a fold")
    return made
