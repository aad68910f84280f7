"""Searchers beside random search on bayesmark's scikit-learn problems.

    python -m benchmarks.suite [--searchers tpe gp] [--models knn svm] [--data wine] ...

Prints a table of normalised scores: 0 is one random guess, 100 the best cost that any study
found. Studies that an earlier call finished are not run again. Writes suite.json and suite.png.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite.problems import DATA, METRICS, MODELS, Problem, problems
from benchmarks.suite.scoring import BASELINE, curve, scores, standing
from benchmarks.suite.studies import Study, possible, run_study
from tuning.searcher import SearcherKind

SEARCHERS = tuple(each for each in get_args(SearcherKind) if each not in ("grid", BASELINE))
RESULTS = Path("benchmarks/results")


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=["tpe", "gp"])
    made.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    made.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    made.add_argument("--metrics", nargs="+", choices=METRICS, default=["accuracy", "mse"])
    made.add_argument("--trials", type=int, default=30, metavar="N", help="trials of a study")
    made.add_argument("--seeds", type=int, default=5, metavar="N", help="studies of each kind")
    made.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes")
    return made


def main() -> None:
    """Run what is missing, and print the table."""
    options = parser().parse_args()
    if min(options.trials, options.seeds, options.jobs) < 1:
        sys.exit("suite: --trials, --seeds and --jobs: allowed: 1 or more")
    chosen = list(problems(options.models, options.data, options.metrics))
    if not chosen:
        sys.exit("suite: --data and --metrics: none of these go together")
    searchers = [BASELINE, *options.searchers]
    studies = [
        Study(problem, searcher, options.trials, seed, RESULTS / "suite")
        for problem, searcher, seed in product(chosen, searchers, range(options.seeds))
    ]
    costs = gather(studies, options.jobs)
    report(options, searchers, {each: costs[each] for each in chosen if each in costs})


def gather(studies: Sequence[Study], jobs: int) -> Mapping[Problem, dict[str, NDArray[np.float64]]]:
    """Run the studies that nobody has run, and put the costs of all together."""
    able = {(each.problem, each.searcher): possible(each) for each in studies if each.seed == 0}
    studies = [each for each in studies if able[each.problem, each.searcher]]
    found = {each: kept for each in studies if (kept := each.kept()) is not None}
    missing = [each for each in studies if each not in found]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running = {pool.submit(run_study, each): each for each in missing}
        for count, future in enumerate(as_completed(running), start=1):
            found[running[future]] = future.result()
            if sys.stderr.isatty() or count % 50 == 0 or count == len(missing):
                print(f"{count} of {len(missing)} studies", file=sys.stderr)
    together: dict[Problem, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for each in studies:
        together[each.problem][each.searcher].append(found[each])
    return {
        problem: {name: np.array(rows) for name, rows in by_searcher.items()}
        for problem, by_searcher in together.items()
    }


def report(
    options: argparse.Namespace,
    searchers: Sequence[str],
    costs: Mapping[Problem, Mapping[str, NDArray[np.float64]]],
) -> None:
    """Print the table; write JSON and the chart."""
    scored = {each: found for each, by in costs.items() if (found := scores(by)) is not None}
    if not scored:
        sys.exit("suite: every configuration scored alike; nothing to compare")
    rows = [standing(name, list(scored.values())) for name in searchers]
    print(f"{options.trials} trials, {options.seeds} seeds, {len(scored)} problems", end="")
    print(f"; {len(costs) - len(scored)} left out, where all configurations score alike")
    for problem, by in scored.items():
        cells = " ".join(_cell(by, name) for name in searchers)
        print(f"{problem.title:<40} {cells}")
    print(f"\n{'searcher':<10} {'problems':>8} {'score':>7} {'seeds':>15} {'gap':>6} better/worse")
    for row in rows:
        spread = f"{row.low:.1f} to {row.high:.1f}"
        print(
            f"{row.searcher:<10} {row.problems:>8} {row.score:>7.1f} {spread:>15} "
            f"{row.gap:>6.2f} {row.better:>6}/{row.worse}"
        )
    curves = {name: curve(name, list(scored.values())) for name in searchers}
    write(
        {
            "command": vars(options),
            "standings": [{**asdict(row), "gap": row.gap} for row in rows],
            "curves": curves,
            "scores": {
                each.title: {name: by[name][:, -1].tolist() for name in by}
                for each, by in scored.items()
            },
        }
    )
    draw(curves, RESULTS / "suite.png")


def _cell(by: Mapping[str, NDArray[np.float64]], searcher: str) -> str:
    score = f"{float(by[searcher][:, -1].mean()):.1f}" if searcher in by else "-"
    return f"{searcher} {score:>6}"


def write(plain: Mapping[str, Any]) -> None:
    """Keep everything that was computed."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "suite.json").write_text(json.dumps(plain, indent=1))


def draw(curves: Mapping[str, Iterable[float]], path: Path) -> None:
    """Draw the mean score after each trial."""
    from matplotlib.figure import Figure  # noqa: PLC0415, slower than --help should be
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415, as above

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        points = list(values)
        style = "--" if name == BASELINE else "-"
        axes.plot(range(1, len(points) + 1), points, style, label=name)
    axes.set(xlabel="trials", ylabel="normalised score", title="bayesmark's scikit-learn suite")
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
