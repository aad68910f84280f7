"""How soon a new version answers, how soon a bad one stops, and what fifty rollouts cost.

    python -m benchmarks.rollouts [--only start rollback crowd]

`start`: from the moment at which `challenger` names a version to its first answer. `rollback`:
from the request for it to the last answer of the version that had to go; the one before it is
warm. Both on the shipped fleet, under a constant load on its express port. `crowd`: a tick of
the controller while many models are rolled out at the same time, some with replicas and under
load, the others with simulated replicas and requests.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.releasing.figures import (
    Outcome,
    Tick,
    parts_of,
    under_way,
    until_first,
    until_last,
)
from benchmarks.releasing.fleets import Hosted, hosted
from benchmarks.releasing.load import Load
from benchmarks.releasing.names import RELEASED, TICKS, real, simulated
from benchmarks.serving.machine import machine
from benchmarks.serving.running import REPOSITORY, StartError, clean_environment
from tuning.registry import CHALLENGER

RESULTS = Path(__file__).parent / "results"


SHIPPED = "deployments.fleet:build"
TIMED = "benchmarks.releasing.crowd:build"
START, ROLLBACK, CROWD = "start", "rollback", "crowd"

BARS_S = {START: 15.0, ROLLBACK: 1.0, CROWD: 1.0}
"""What each must stay below, seconds."""

WARM_S = 3.0
"""Of load before anything is asked for, seconds."""

CALM_S = 2.0
"""Without an answer of the old version, after which there will be none, seconds."""

LOOK_S = 2.0
"""Between two looks at how far the crowd is, seconds."""

WITHIN_S = 900.0
"""After which a crowd is given up, seconds."""

PAUSE: dict[str, Any] = {"pause": {"duration_s": 20}}

CAREFUL: dict[str, Any] = {
    "steps": [
        {"setWeight": 10}, PAUSE, {"analysis": {}}, {"setMirror": 100},
        {"setWeight": 25}, PAUSE, {"analysis": {}},
        {"setWeight": 50}, PAUSE, {"analysis": {}},
    ],
    "analysis": {
        "signals": {
            "errors": {"kind": "errors", "allowed": 0.05},
            "slow": {"kind": "slow", "target_s": 1.0, "allowed": 0.05},
            "differing": {"kind": "differing"},
        }
    },
}  # fmt: skip
"""How the crowd is rolled out."""


def main() -> int:
    """Run the benchmark; 0 if all bars are met and every answer was right."""
    plan = parser().parse_args()
    console, outcomes, faults = Console(), list[Outcome](), list[str]()
    numbers: dict[str, Any] = {"machine": machine(), "plan": vars(plan)}
    # Serve's workers import a module of this benchmark.
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    try:
        with tempfile.TemporaryDirectory(
            prefix="rr-", dir="/tmp", ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            home = folder / "home"
            console.print("registering models")
            register(home, plan)
            if {START, ROLLBACK} & set(plan.only):
                models: dict[str, Any] = {
                    RELEASED: {"transport": "auto", "rollout": {"strategy": "canary"}}
                }
                with hosted(folder / "one", home, SHIPPED, models) as fleet:
                    found, wrong = one_at_a_time(plan, fleet, console)
                outcomes, faults = outcomes + found, faults + wrong
            if CROWD in plan.only:
                names = [*map(real, range(plan.real)), *map(simulated, range(plan.simulated))]
                models = {name: {"transport": "auto", "rollout": CAREFUL} for name in names}
                with hosted(folder / "many", home, TIMED, models) as fleet:
                    wrong = crowd(plan, fleet, names)
                ticks = under_way(ticks_of(home / TICKS))
                outcomes, faults = [*outcomes, tick_outcome(ticks)], faults + wrong
                numbers["ticks"] = ticks
                show_ticks(console, ticks)
    except StartError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    show(console, outcomes, faults)
    numbers |= {"outcomes": outcomes, "faults": faults, "load_average": psutil.getloadavg()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "rollouts.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(numbers)))
    return 0 if all(outcome.is_met for outcome in outcomes) and not faults else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=BARS_S, default=list(BARS_S))
    parser.add_argument("--rounds", type=int, default=5, help="of start and of rollback")
    parser.add_argument("--simulated", type=int, default=50, help="models without replicas")
    parser.add_argument("--real", type=int, default=4, help="models with replicas beside them")
    parser.add_argument("--rate-per-s", type=float, default=200.0, help="requests of the load")
    return parser


def register(home: Path, plan: argparse.Namespace) -> None:
    """Fill a home folder with models."""
    home.mkdir()
    counts = (plan.rounds + 1, plan.real, plan.simulated)
    command = [sys.executable, "-m", "benchmarks.releasing.models", str(home), *map(str, counts)]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=clean_environment())


def one_at_a_time(
    plan: argparse.Namespace, fleet: Hosted, console: Console
) -> tuple[list[Outcome], list[str]]:
    """Measure starts and rollbacks of one model; returns what was found, and faults."""
    outcomes = []
    with fleet.load(RELEASED, rate_per_s=plan.rate_per_s) as load:
        time.sleep(WARM_S)
        if START in plan.only:
            console.print(f"{plan.rounds} versions are started, one after the other")
            found = [start(fleet, load, str(2 + number)) for number in range(plan.rounds)]
            outcomes.append(Outcome(START, tuple(found), BARS_S[START]))
        if ROLLBACK in plan.only:
            console.print(f"version 2 is promoted, and {plan.rounds} times rolled back")
            promote(fleet)
            found = [
                roll_back(fleet, load, *("21" if number % 2 == 0 else "12"))
                for number in range(plan.rounds)
            ]
            outcomes.append(Outcome(ROLLBACK, tuple(found), BARS_S[ROLLBACK]))
    return outcomes, load.faults


def start(fleet: Hosted, load: Load, version: str) -> float:
    """Seconds from the move of `challenger` to a version's first answer; its rollout is ended."""
    moved_s = time.monotonic()
    fleet.registry.set_registered_model_alias(RELEASED, CHALLENGER, version)
    fleet.wait("its first answer", lambda: answers_of(load, version, moved_s) < float("inf"))
    fleet.call(f"/api/v1/deployments/{RELEASED}/rollout/abort", {})
    fleet.reaches(RELEASED, "aborted")
    fleet.wait("the alias is taken away", lambda: CHALLENGER not in aliases(fleet))
    return answers_of(load, version, moved_s)


def aliases(fleet: Hosted) -> dict[str, str]:
    """Of the model whose versions come and go alone."""
    return dict(fleet.registry.get_registered_model(RELEASED).aliases)


def answers_of(load: Load, version: str, since_s: float) -> float:
    """See `until_first`."""
    return until_first(load.answers[:], version, since_s)


def promote(fleet: Hosted) -> None:
    """Make version 2 champion, at once."""
    fleet.call(f"/api/v1/deployments/{RELEASED}/rollouts", {"version": "2"})
    fleet.reaches(RELEASED, "progressing")
    fleet.call(f"/api/v1/deployments/{RELEASED}/rollout/promote", {})
    fleet.reaches(RELEASED, "successful")


def roll_back(fleet: Hosted, load: Load, bad: str, good: str) -> float:
    """Seconds from the request for it to the last answer of the version that must go."""
    fleet.wait(f"version {bad} answers alone", lambda: answers_alone(load, bad))
    asked_s = time.monotonic()
    fleet.call(f"/api/v1/deployments/{RELEASED}/rollback", {"version": good})
    fleet.reaches(RELEASED, "successful")
    fleet.wait(f"version {good} answers alone", lambda: answers_alone(load, good))
    return until_last(load.answers[:], bad, asked_s)


def answers_alone(load: Load, version: str) -> bool:
    """Whether a version has given all answers for a while."""
    since_s = time.monotonic() - CALM_S
    return {each.version for each in load.answers[:] if each.sent_s >= since_s} == {version}


def crowd(plan: argparse.Namespace, fleet: Hosted, names: list[str]) -> list[str]:
    """Roll many models out at the same time; returns faults."""
    loaded = names[: plan.real]
    with fleet.load(*loaded, rate_per_s=plan.rate_per_s) as load:
        time.sleep(WARM_S)
        for name in names:
            fleet.registry.set_registered_model_alias(name, CHALLENGER, "2")
        give_up_at_s = time.monotonic() + WITHIN_S
        while True:
            time.sleep(LOOK_S)
            shown = fleet.call("/api/v1/rollouts")["rollouts"]
            ended = [each for each in shown if each["ended_at_s"] is not None]
            if len(ended) == len(names):
                break
            if time.monotonic() > give_up_at_s:
                raise StartError(f"{len(ended)} of {len(names)} rollouts ended in {WITHIN_S:g} s")
    bad = [f"{each['model']}: {each['reason']}" for each in ended if each["phase"] != "successful"]
    return bad + load.faults


def ticks_of(path: Path) -> list[Tick]:
    """Read what the controller left."""
    return msgspec.json.Decoder(Tick).decode_lines(path.read_bytes())


def tick_outcome(ticks: list[Tick]) -> Outcome:
    """What a tick took; one that failed took forever."""
    found = tuple(float("inf") if tick.failed else tick.took_s for tick in ticks)
    return Outcome(CROWD, found, BARS_S[CROWD])


def show(console: Console, outcomes: list[Outcome], faults: list[str]) -> None:
    """Print what was found beside the bars."""
    table = Table("seconds", "readings", "median", "p99", "most", "below", "")
    for outcome in outcomes:
        found = [f"{outcome.percentile(share):.2f}" for share in (50, 99, 100)]
        said = "met" if outcome.is_met else "missed"
        bar = f"{outcome.bar_s:g}"
        table.add_row(outcome.what, str(len(outcome.found_s)), *found, bar, said)
    console.print(table)
    console.print(f"{len(faults)} faults, bar 0: {'missed' if faults else 'met'}")
    for fault in faults[:5]:
        console.print(f"  {fault}", markup=False)
    console.print("load average: {:.1f}, {:.1f}, {:.1f}".format(*psutil.getloadavg()))


def show_ticks(console: Console, ticks: list[Tick]) -> None:
    """Print what ticks are made of."""
    table = Table("milliseconds of a tick", "times", "median", "p99", "most")
    for name, took_s in sorted(parts_of(ticks).items()):
        part = Outcome(name, tuple(took_s), BARS_S[CROWD])
        found = [f"{1000 * part.percentile(share):.0f}" for share in (50, 99, 100)]
        table.add_row(name, str(len(took_s)), *found)
    table.caption = (
        f"at most {max((tick.active for tick in ticks), default=0)} rollouts on their way"
    )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
