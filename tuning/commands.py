"""The commands of `python -m tuning` about sweeps that have run: select, report, reproduce."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tuning.configfile import read_spec
from tuning.errors import ConfigError
from tuning.home import resolve_home


@dataclass(frozen=True, slots=True)
class Command:
    """One of them."""

    parser: Callable[[], argparse.ArgumentParser]
    run: Callable[[argparse.Namespace, Console], int]
    """Returns the exit status."""


def run_command(name: str, arguments: Sequence[str], console: Console) -> int:
    """Parse and run one of `COMMANDS`, returning its exit status."""
    command = COMMANDS[name]
    return command.run(command.parser().parse_args(arguments), console)


def _select_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning select",
        description="Pick the best trial of several sweeps by declared rules, fit it on all "
        "training rows and register it. Exit status: 0 a version is registered, 1 no trial is "
        "in the running or the winner is no better than the champion, 2 the rules are refused.",
        allow_abbrev=False,
    )
    parser.add_argument("rules", type=Path, metavar="RULES.yaml", help="the selection's rules")
    parser.add_argument(
        "--dry-run", action="store_true", help="show the ranking and register nothing"
    )
    parser.add_argument(
        "--force", action="store_true", help="register a winner that is no better than the champion"
    )
    return parser


def _select(options: argparse.Namespace, console: Console) -> int:
    # Imported here, so that --help and a wrong argument answer at once.
    from tuning.authentication import present_token  # noqa: PLC0415, as above
    from tuning.selecting.election import run_selection  # noqa: PLC0415, as above
    from tuning.selecting.rules import SelectionSpec  # noqa: PLC0415, as above

    spec = read_spec(options.rules, SelectionSpec)
    present_token()
    try:
        run_selection(
            spec,
            home=resolve_home(),
            console=console,
            dry_run=options.dry_run,
            force=options.force,
        )
    except ConfigError as error:
        raise ConfigError(f"{options.rules}: {error}") from None
    return 0


def _report_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning report",
        description="Write the page about a sweep anew, from its files in RAYFLEET_HOME. The end "
        "of a sweep does so, too, and keeps it with the sweep's run in MLflow.",
        allow_abbrev=False,
    )
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write it, beside the usual place"
    )
    return parser


def _report(options: argparse.Namespace, console: Console) -> int:
    from tuning.reporting.making import make_report  # noqa: PLC0415, as above

    report = make_report(resolve_home(), options.sweep)
    if options.output is not None:
        options.output.write_text(report.html, encoding="utf-8")
    console.print(f"{options.output or report.path}", markup=False, soft_wrap=True)
    return 0


def _reproduce_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning reproduce",
        description="Run one trial again, in this process, from what its MLflow run says, and "
        "compare every fold. Exit status: 0 the same, 1 the deciding metric differs, 2 the run "
        "cannot be repeated.",
        allow_abbrev=False,
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="the trial's MLflow run")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="F",
        help="largest difference that passes; %(default)s",
    )
    return parser


def _reproduce(options: argparse.Namespace, console: Console) -> int:
    from tuning.reproduction import reproduce  # noqa: PLC0415, as above

    if not options.tolerance >= 0.0:
        raise ConfigError(f"--tolerance: {options.tolerance}, allowed: 0 or more")
    reproduce(resolve_home(), options.run_id, tolerance=options.tolerance, console=console)
    return 0


COMMANDS: Mapping[str, Command] = {
    "report": Command(_report_parser, _report),
    "reproduce": Command(_reproduce_parser, _reproduce),
    "select": Command(_select_parser, _select),
}
"""By their names."""
