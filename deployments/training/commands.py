"""`rayfleet sweep`: sweeps on a cluster, from the terminal."""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployments.errors import ConfigError, DependencyError
from deployments.watching import WATCH_S, patiently
from tuning.authentication import ADDRESS_VARIABLE, MODE_VARIABLE, present_token
from tuning.configfile import read_yaml
from tuning.home import resolve_home
from tuning.quiet import quieten

DASHBOARD_VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Ray's own variable for where jobs are sent."""

DEFAULT_ADDRESS = "http://127.0.0.1:8265"

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def add_sweep_commands(commands: Any) -> None:
    """Add `sweep` and its own commands to a parser's."""
    sweep = commands.add_parser(
        "sweep",
        allow_abbrev=False,
        help="run sweeps as Ray jobs, follow and compare them",
        description="Run sweeps as jobs of a Ray cluster, which is asked with its own token; what "
        "they found is read from MLflow.",
    )
    inner = sweep.add_subparsers(required=True, metavar="COMMAND")

    submit = _command(inner, "submit", "run a sweep as a Ray job", _submit)
    submit.add_argument("sweep", type=Path, metavar="SWEEP.yaml", help="the sweep's spec")
    _add_folder(submit)

    _command(inner, "list", "list the sweeps that Ray or MLflow knows", _list)

    status = _command(inner, "status", "show where a sweep stands", _status)
    status.add_argument("name", metavar="SWEEP", help="the sweep's name")
    status.add_argument("--watch", action="store_true", help="go on showing it until it ends")

    logs = _command(inner, "logs", "show what a sweep printed", _logs)
    logs.add_argument("name", metavar="SWEEP", help="the sweep's name")
    logs.add_argument("--lines", type=int, default=200, metavar="N", help="the last N; %(default)s")

    stop = _command(inner, "stop", "interrupt a sweep; resume goes on", _stop)
    stop.add_argument("name", metavar="SWEEP", help="the sweep's name")

    resume = _command(inner, "resume", "submit an interrupted sweep again", _resume)
    resume.add_argument("name", metavar="SWEEP", help="the sweep's name")
    _add_folder(resume)

    compare = _command(inner, "compare", "hold two sweeps side by side", _compare)
    compare.add_argument("left", metavar="SWEEP", help="the one")
    compare.add_argument("right", metavar="OTHER", help="and the other")


def _command(
    commands: Any, name: str, words: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, allow_abbrev=False, help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    parser.add_argument(
        "--address",
        default=os.environ.get(DASHBOARD_VARIABLE)
        or os.environ.get(ADDRESS_VARIABLE)
        or DEFAULT_ADDRESS,
        help=f"Ray's dashboard; {DASHBOARD_VARIABLE}, else {ADDRESS_VARIABLE}, else "
        f"{DEFAULT_ADDRESS}",
    )
    parser.set_defaults(run=run)
    return parser


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--working-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="sent along, for the files and trainers that the sweep names; the current folder",
    )


def _training(options: argparse.Namespace) -> Any:
    quieten()
    environment = {**os.environ, ADDRESS_VARIABLE: options.address}
    present_token(environment)
    if MODE_VARIABLE in environment:
        os.environ[MODE_VARIABLE] = environment[MODE_VARIABLE]
    from deployments.training.jobs import RayJobs  # noqa: PLC0415, as slow as what it imports
    from deployments.training.training import Training  # noqa: PLC0415, as above

    home = resolve_home()
    url = options.address if "://" in options.address else f"//{options.address}"
    # Another machine resolves its own home, as for `ray job submit`.
    ours = urlsplit(url).hostname in LOOPBACK
    return Training(RayJobs(options.address, home.environment() if ours else {}), home)


def _submit(options: argparse.Namespace) -> int:
    from deployments.training.views import NewSweep  # noqa: PLC0415, as above
    from tuning.spec import read_sweep  # noqa: PLC0415, as above

    spec = read_sweep(options.sweep)
    folder = _folder(options)
    file = options.sweep.resolve()
    inside = file.relative_to(folder) if file.is_relative_to(folder) else None
    raw = read_yaml(options.sweep)
    view = _training(options).submit(NewSweep(spec=raw), folder=folder, file=inside)
    print(f"{spec.name}: submitted as job {view.job_id}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from deployments.training.showing import list_lines  # noqa: PLC0415, as above

    for line in list_lines(_training(options).sweeps()):
        print(line)
    return 0


def _status(options: argparse.Namespace) -> int:
    from deployments.training.showing import show, watch  # noqa: PLC0415, as above

    training = _training(options)
    if options.watch:

        def look() -> Any:
            return patiently(lambda: training.sweep(options.name), DependencyError)

        return watch(look, time.sleep, WATCH_S)
    show(training.sweep(options.name))
    return 0


def _logs(options: argparse.Namespace) -> int:
    if options.lines < 1:
        raise ConfigError(f"--lines: {options.lines}, allowed: 1 or more")
    print(_training(options).logs(options.name, options.lines).logs, end="")
    return 0


def _stop(options: argparse.Namespace) -> int:
    view = _training(options).stop(options.name)
    print(f"{view.name}: job {view.job_id} is told to stop; rayfleet sweep resume goes on")
    return 0


def _resume(options: argparse.Namespace) -> int:
    view = _training(options).resume(options.name, folder=_folder(options))
    print(f"{view.name}: submitted as job {view.job_id}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from deployments.training.showing import show_comparison  # noqa: PLC0415, as above

    show_comparison(_training(options).compare(options.left, options.right))
    return 0


def _folder(options: argparse.Namespace) -> Path:
    folder: Path = options.working_dir.resolve()
    if not folder.is_dir():
        raise ConfigError(f"--working-dir: '{options.working_dir}': no such folder")
    return folder
