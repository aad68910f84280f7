"""How often the race between folds stops the true best trial, in simulated sweeps.

    python -m benchmarks.racing [--sweeps N] [--seed N]

Beside the rule with its default error rate: one with a larger one, and one without the
correction for training rows that folds share.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks.racing.simulation import Scenario, simulate

SCENARIOS = (
    Scenario("30 alike, 5 folds", spread=0.0),
    Scenario("30 alike, 10 folds", n_folds=10, spread=0.0),
    Scenario("30 close, 5 folds"),
    Scenario("30 close, 10 folds", n_folds=10),
    Scenario("30 apart, 5 folds", spread=4.0),
    Scenario("30 apart, 10 folds", n_folds=10, spread=4.0),
    Scenario("200 apart, 5 folds", n_trials=200, spread=4.0),
)
"""Alike: all are truly the best. Close and apart: true means differ as much as, and four times
as much as, one trial's folds."""

RULES: Mapping[str, Mapping[str, Any]] = {
    "alpha 0.02": {},
    "alpha 0.05": {"alpha": 0.05},
    "0.02, not corrected": {"test_share": 0.0},
}


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--sweeps", type=int, default=1000, metavar="N")
    made.add_argument("--seed", type=int, default=0, metavar="N")
    return made


def main() -> None:
    """Simulate and print a table."""
    options = parser().parse_args()

    headings = ("true best stopped", "trials stopped", "folds saved", "winner worse by")
    print(f"{options.sweeps} sweeps each, seed {options.seed}")
    print(f"{'trials':<20} {'rule':<20}", *(f"{heading:>18}" for heading in headings))
    for scenario in SCENARIOS:
        for name, settings in RULES.items():
            tally = simulate(scenario, sweeps=options.sweeps, seed=options.seed, **settings)
            cells = [f"{share:.1%}" for share in (tally.best_stopped, tally.stopped, tally.saved)]
            cells.append(f"{tally.lost:.3f}")
            print(f"{scenario.name:<20} {name:<20}", *(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
