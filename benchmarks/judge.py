"""How often the judge aborts good versions, and how soon bad ones, in simulated rollouts.

    python -m benchmarks.judge [--rollouts N] [--seed N]

Beside it, on the same requests, two rules that are in use: a threshold in each interval, and a
rank test that is asked again after each. Writes a table, a chart and the numbers.
"""

import argparse
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.judging import chart, several
from benchmarks.judging.measures import (
    JUDGE,
    MANN_WHITNEY,
    THRESHOLD,
    TRUSTING,
    Delay,
    FalseAborts,
    Success,
    delay,
    false_aborts,
    success,
)
from benchmarks.judging.streams import Scenario
from deployments.rollout.analysis import ALPHA, RISK

RESULTS = Path(__file__).parent / "results"

BAR = 0.85
"""Largest median delay, as a share of what the fixed-size test needs."""

FEW_LOOKS = 10
"""As many as a rollout by the usual practice has; the simulated ones have hundreds."""

SCENARIOS = (
    Scenario("one step at 5 %", plan=((5, 300),)),
    Scenario("5, 25, 50 %"),
    Scenario("rate drifts, incidents", drifts=True),
    Scenario("sticky keys, a few busy", keys=300),
    Scenario("as bad as allowed, drifting", rise=0.005, allowed=0.005, drifts=True),
    Scenario("eights share their fate", cluster_size=8),
    Scenario("twenty requests a look", plan=((50, 600),), requests=20, rate=0.05),
)

UNPROTECTED = Scenario("keys differ, a few busy", keys=300, keys_differ=True)
"""No bar: the version is no worse, but who asks it is not who asks stable."""

EFFECTS = {0.02: 1200, 0.03: 500, 0.05: 250, 0.10: 150}
"""Error rates of bad versions, and ticks of 100 requests to wait for the abort."""

CLEAN_RATES = (0.0, 0.001, 0.01, 0.05)
ALLOWED = 0.01
"""Largest rise allowed to versions that are to be found good."""

WEIGHTS = (5, 25, 50)


class Outcome(msgspec.Struct, frozen=True):
    """A line of the results: what was measured, and what it may be at most."""

    what: str
    found: float
    bar: float

    @property
    def is_met(self) -> bool:
        """Whether the bar is met."""
        return self.found <= self.bar


def main() -> int:
    """Run the simulation; 0 if all bars are met."""
    plan = parser().parse_args()
    random, console, began_s = np.random.default_rng(plan.seed), Console(), time.monotonic()
    aborts = []
    for scenario in (*SCENARIOS, UNPROTECTED):
        console.print(f"{plan.rollouts} good versions: {scenario.title}")
        aborts.append(false_aborts(scenario, plan.rollouts, random, alpha=ALPHA, risk=RISK))
    console.print(f"{plan.rollouts} good versions: four signals as bad as allowed")
    together, _ = several.false_aborts(plan.rollouts, random, alpha=ALPHA)
    console.print(f"{plan.streams} bad versions of each kind")
    delays = [
        delay(_bad(rate, ticks), plan.streams, random, alpha=ALPHA)
        for rate, ticks in EFFECTS.items()
    ]
    successes = [
        success(_clean(weight, rate), plan.streams // 4, random, risk=RISK)
        for weight in WEIGHTS
        for rate in CLEAN_RATES
    ]
    outcomes = _outcomes(aborts, together, delays)
    _print(console, aborts, delays, successes, outcomes)
    _write(plan, aborts, delays, successes, outcomes)
    console.print(f"took {time.monotonic() - began_s:.0f} s")
    return 0 if all(outcome.is_met for outcome in outcomes) else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.judge",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rollouts", type=int, default=10_000, help="good versions a scenario")
    parser.add_argument("--streams", type=int, default=2000, help="bad versions an effect")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    return parser


def _bad(rate: float, ticks: int) -> Scenario:
    return Scenario(f"{rate:.0%}", plan=((5, ticks),), requests=100, rise=rate - 0.01)


def _clean(weight: int, rate: float) -> Scenario:
    plan = ((weight, 3000),)
    return Scenario(f"{weight} %", plan=plan, requests=200, rate=rate, allowed=ALLOWED)


def _outcomes(aborts: list[FalseAborts], together: float, delays: list[Delay]) -> list[Outcome]:
    found = [
        Outcome(f"false aborts: {each.scenario.title}", each.aborted[JUDGE][-1], ALPHA)
        for each in aborts
        if each.scenario is not UNPROTECTED
    ]
    found.append(Outcome("false aborts: four signals", together, ALPHA))
    found += [
        Outcome(f"false successes: {each.scenario.title}", each.successful, RISK)
        for each in aborts
        if each.successful is not None
    ]
    found += [
        Outcome(f"delay at {each.rate:.0%}, of the fixed size", each.median() / each.fixed, BAR)
        for each in delays
    ]
    return found


def _print(
    console: Console,
    aborts: list[FalseAborts],
    delays: list[Delay],
    successes: list[Success],
    outcomes: list[Outcome],
) -> None:
    rules = (JUDGE, TRUSTING, THRESHOLD, MANN_WHITNEY)
    table = Table("good versions aborted", *rules)
    table.caption = f"after all looks (after {FEW_LOOKS})"
    for each in aborts:
        cells = [_shares(each.aborted.get(rule)) for rule in rules]
        table.add_row(each.scenario.title, *cells)
    console.print(table)

    table = Table("errors", "fixed size", JUDGE, "of the fixed size", THRESHOLD, MANN_WHITNEY)
    table.caption = "canary requests until abort at 5 %, median; stable has 1 % errors"
    for found in delays:
        usual = [f"{found.median(rule):.0f}" for rule in (THRESHOLD, MANN_WHITNEY)]
        ratio = found.median() / found.fixed
        cells = [f"{found.fixed:.0f}", f"{found.median():.0f}", f"{ratio:.2f}", *usual]
        table.add_row(f"{found.rate:.0%}", *cells)
    console.print(table)

    table = Table("errors", *(f"at {weight} %" for weight in WEIGHTS))
    table.caption = f"canary requests until success, median (9 of 10); {ALLOWED:.0%} more allowed"
    for rate in CLEAN_RATES:
        cells = [
            "{:.0f} ({:.0f})".format(*np.quantile(each.requests, [0.5, 0.9]))
            for each in successes
            if each.rate == rate
        ]
        table.add_row(f"{rate:.1%}", *cells)
    console.print(table)

    table = Table("bar", "found", "at most", "")
    for outcome in outcomes:
        said = "met" if outcome.is_met else "not met"
        table.add_row(outcome.what, f"{outcome.found:.4f}", f"{outcome.bar:g}", said)
    console.print(table)


def _shares(aborted: list[float] | None) -> str:
    return f"{aborted[-1]:.2%} ({aborted[FEW_LOOKS - 1]:.2%})" if aborted else ""


def _write(
    plan: argparse.Namespace,
    aborts: list[FalseAborts],
    delays: list[Delay],
    successes: list[Success],
    outcomes: list[Outcome],
) -> None:
    RESULTS.mkdir(exist_ok=True)
    numbers = {
        "seed": plan.seed,
        "rollouts": plan.rollouts,
        "streams": plan.streams,
        "outcomes": outcomes,
        "aborted": {
            each.scenario.title: {rule: shares[-1] for rule, shares in each.aborted.items()}
            for each in aborts
        },
        "delays": [
            {
                "rate": found.rate,
                "fixed": found.fixed,
                "medians": {rule: found.median(rule) for rule in found.requests},
            }
            for found in delays
        ],
        "successes": [
            {
                "weight": each.weight,
                "rate": each.rate,
                "median": float(np.median(each.requests)),
                "nine_of_ten": float(np.quantile(each.requests, 0.9)),
            }
            for each in successes
        ],
    }
    path = RESULTS / "judge.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(numbers)))
    caption = f"{plan.rollouts} good versions a scenario, {plan.streams} bad ones an effect"
    protected = [each for each in aborts if each.scenario is not UNPROTECTED]
    chart.draw(path.with_suffix(".png"), protected, delays, successes, alpha=ALPHA, caption=caption)


if __name__ == "__main__":
    sys.exit(main())
