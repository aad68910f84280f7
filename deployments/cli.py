"""The `rayfleet` command: parse arguments, call one function, turn errors into one line.

Each command imports what it needs when it runs, so that --help and a mistyped argument
answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.errors import ConfigError, FleetError
from deployments.rolloutcommand import add_rollout_command
from deployments.training.commands import add_sweep_commands
from tuning.configfile import read_yaml
from tuning.errors import TuningError
from tuning.interruption import listen
from tuning.quiet import quieten

FAULT = 2
"""Exit status for a config or an argument that is refused before any work starts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    listen()
    try:
        return int(options.run(options))
    except (FleetError, TuningError) as error:
        print(error, file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:
        print("rayfleet: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Refuses an argument too many with the usage of the command that it was given to."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Called for a command's own parser, which leaves what it does not know to its parent's."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rayfleet",
        description="Tune, register, release and serve models on one Ray cluster.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    validate = commands.add_parser(
        "validate",
        allow_abbrev=False,
        help="check fleet, sweep and selection configs",
        description="Check configs before any work starts. Each fault is one line: file, path,"
        " value, what is allowed. Exit status 0 when there is none, else 2.",
    )
    validate.add_argument("files", nargs="+", type=Path, metavar="FILE")
    validate.add_argument(
        "--running",
        action="store_true",
        help="the fleet already runs, so its port may be in use",
    )
    validate.set_defaults(run=_validate)

    serve = commands.add_parser(
        "serve",
        allow_abbrev=False,
        help="host the models of a fleet config in the foreground",
        description="Check a fleet config, then run it with Ray Serve until Ctrl-C.",
    )
    serve.add_argument(
        "config",
        nargs="?",
        type=Path,
        default=Path("configs/fleet.yaml"),
        metavar="CONFIG",
        help="fleet config; %(default)s unless given",
    )
    serve.add_argument(
        "--no-haproxy", action="store_true", help="answer Serve's port with Serve's own proxy"
    )
    serve.add_argument(
        "--address",
        default=os.environ.get("RAY_ADDRESS", "local"),
        help="Ray cluster to join; RAY_ADDRESS, else a Ray of its own",
    )
    serve.set_defaults(run=_serve)

    add_sweep_commands(commands)

    stop = commands.add_parser("stop", help="end what `rayfleet serve` runs on this home folder")
    stop.set_defaults(run=_stop)

    doctor = commands.add_parser(
        "doctor",
        allow_abbrev=False,
        help="say what is wrong with this installation or its fleet, and what to do",
        description="Look at versions, ports, registry, store, storage, GPUs, Ray and HAProxy,"
        " and at the fleet if it runs. Changes nothing. Exit status 1 when something is wrong.",
    )
    doctor.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="fleet config; its fleet may run"
    )
    doctor.add_argument("--json", action="store_true", help="write the findings as JSON")
    doctor.set_defaults(run=_doctor)

    add_rollout_command(commands)
    show = commands.add_parser(
        "demo",
        help="tune, register, serve, predict and split, end to end",
        description="Do the whole job on real data, show each step, and leave nothing running.",
    )
    show.set_defaults(run=_demo)
    return parser


def _validate(options: argparse.Namespace) -> int:
    quieten()
    faults = 0
    for path in options.files:
        try:
            _validate_one(path, port_is_free=not options.running)
        except (FleetError, TuningError) as error:
            print(error, file=sys.stderr)
            faults += 1
        else:
            print(f"{path}: valid")
    return FAULT if faults else 0


def _validate_one(path: Path, *, port_is_free: bool) -> None:
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path}: holds no keys, allowed: a fleet config (applications: ...),"
            " a sweep (name: ...) or a selection (model: ...)"
        )
    if "applications" in raw:
        from deployments.validation import validate_fleet  # noqa: PLC0415, Ray Serve and MLflow

        validate_fleet(path, port_is_free=port_is_free)
    elif "model" in raw and not {"data", "space", "trainer"} & raw.keys():
        from tuning.selecting.rules import SelectionSpec  # noqa: PLC0415, as above

        SelectionSpec.load(raw, where=str(path))
    else:
        from tuning.spec import validate_file  # noqa: PLC0415, pandas

        validate_file(path)


def _serve(options: argparse.Namespace) -> int:
    from deployments import server  # noqa: PLC0415, as above

    return server.serve(options.config, use_haproxy=not options.no_haproxy, address=options.address)


def _stop(_: argparse.Namespace) -> int:
    from deployments import running  # noqa: PLC0415, psutil, which --help does not need

    return running.stop()


def _doctor(options: argparse.Namespace) -> int:
    from deployments.doctor import report  # noqa: PLC0415, as above

    quieten()
    return report.run(options.config, as_json=options.json)


def _demo(_: argparse.Namespace) -> int:
    from deployments import demo  # noqa: PLC0415, as above

    return demo.run()
