"""`python -m tuning SWEEP.yaml`: run, resume or repeat the result of a sweep.

Exit status: 0 a version is registered, 1 the sweep ended without one, 2 the command or a
config was refused before any work, 130 it was interrupted and the same command resumes it.
What can be done with sweeps that have run is in `tuning.commands`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tuning.authentication import ADDRESS_VARIABLE, present_token
from tuning.commands import COMMANDS, run_command
from tuning.console import (
    FORMATS,
    LOG_FORMAT_VARIABLE,
    SweepConsole,
    default_log_format,
    make_console,
)
from tuning.errors import ConfigError, NotReproducedError, SweepError, TrackingError
from tuning.home import resolve_home
from tuning.interruption import listen
from tuning.probes import require_ray
from tuning.quiet import quieten

GENERATE = "generate-data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, returning its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    quieten()
    listen()
    console = SweepConsole()
    try:
        if given and given[0] in {GENERATE, *COMMANDS}:
            return _other(given[0], given[1:], console)
        options = _sweep_parser().parse_args(given)
        console = make_console(options.log_format or default_log_format())
        return _sweep(options, console)
    except ConfigError as error:
        console.fail(str(error))
        return 2
    except (NotReproducedError, SweepError, TrackingError) as error:
        console.fail(str(error))
        return 1
    except OSError as error:  # a full disk, most likely; the ledger is whole
        where = f"{error.filename}: " if error.filename else ""
        console.fail(f"{where}{error.strerror or error}; {_again(given)} goes on")
        return 1
    except KeyboardInterrupt:
        console.fail(f"interrupted; {_again(given)} resumes the sweep")
        return 130


def _again(given: Sequence[str]) -> str:
    restart = "--restart" in given
    return "the same command without --restart" if restart else "the same command"


def _other(name: str, arguments: list[str], console: SweepConsole) -> int:
    if name == GENERATE:
        return _generate(_generate_parser().parse_args(arguments))
    return run_command(name, arguments, console)


def _sweep_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning",
        description="Run a sweep and register its winner. Interrupted or killed, the same "
        "command resumes it; finished, it shows the result again.",
        epilog="Also: python -m tuning COMMAND --help, COMMAND one of "
        f"{', '.join((*COMMANDS, GENERATE))}.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml", help="the sweep's spec")
    parser.add_argument(
        "--restart", action="store_true", help="forget an earlier sweep of this name"
    )
    parser.add_argument(
        "--force", action="store_true", help="register even if it is no better than the champion"
    )
    parser.add_argument("--trials", type=int, metavar="N", help="instead of the spec's n_trials")
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the spec's seed")
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        help=f"lines for people, or a JSON object a line; {LOG_FORMAT_VARIABLE}, else text",
    )
    return parser


def _generate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m tuning {GENERATE}",
        description="Make up a classification data set; its target column is `label`.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="FILE", help="ends in .csv or .parquet")
    parser.add_argument("--rows", type=int, default=1000, metavar="N", help="rows")
    parser.add_argument("--numbers", type=int, default=8, metavar="N", help="numeric columns")
    parser.add_argument("--text", type=int, default=0, metavar="N", help="text columns")
    parser.add_argument("--classes", type=int, default=2, metavar="N", help="classes")
    parser.add_argument(
        "--missing", type=float, default=0.0, metavar="F", help="fraction of values left out"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generator")
    return parser


def _sweep(options: argparse.Namespace, console: SweepConsole) -> int:
    # Imported here, so that --help and a wrong argument answer at once.
    from tuning.spec import SweepSpec, check_sweep, read_sweep  # noqa: PLC0415

    given = {"n_trials": options.trials, "seed": options.seed}
    if options.trials is not None:
        _require_between("--trials", options.trials, 1, 10**6)
    if options.seed is not None:
        _require_between("--seed", options.seed, 0, 2**32 - 1)
    where = str(options.sweep)
    spec = read_sweep(options.sweep)
    console.name(sweep=spec.name)
    changes = {key: value for key, value in given.items() if value is not None}
    if changes:
        plain = spec.model_dump(mode="python", by_alias=True)
        spec = SweepSpec.load({**plain, **changes}, where=where)
    task = check_sweep(spec, where)

    require_ray(os.environ.get(ADDRESS_VARIABLE, ""), ADDRESS_VARIABLE)
    present_token()
    from tuning.lifecycle import run_sweep  # noqa: PLC0415, Ray and MLflow, for a valid spec

    run_sweep(
        task,
        home=resolve_home(),
        console=console,
        where=where,
        restart=options.restart,
        force=options.force,
    )
    return 0


def _generate(options: argparse.Namespace) -> int:
    from tuning.synthetic import Recipe, make_frame, write_frame  # noqa: PLC0415, as above

    limits = {"rows": (10, 10**8), "numbers": (0, 10**4), "text": (0, 10**4), "classes": (2, 1000)}
    for name, (low, high) in limits.items():
        _require_between(f"--{name}", getattr(options, name), low, high)
    _require_between("--missing", options.missing, 0.0, 0.9)
    _require_between("--seed", options.seed, 0, 2**32 - 1)
    recipe = Recipe(
        n_rows=options.rows,
        n_numbers=options.numbers,
        n_text=options.text,
        n_classes=options.classes,
        missing=options.missing,
        seed=options.seed,
    )
    frame = make_frame(recipe)
    write_frame(frame, options.path)
    print(f"{options.path}: {len(frame)} rows, {frame.shape[1] - 1} columns and the target 'label'")
    return 0


def _require_between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value}, allowed: {low} to {high}")


if __name__ == "__main__":
    sys.exit(main())
