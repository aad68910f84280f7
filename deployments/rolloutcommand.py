"""`rayfleet rollout`: start, watch and steer rollouts of a running fleet."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from deployments.controlclient import DEFAULT_URL, URL_VARIABLE, ControlClient, ControlError
from deployments.rolloutscreen import ENDED, Rollout, line, overview, plain, screen
from deployments.schema import is_version
from deployments.watching import WATCH_S, patiently, redrawing
from tuning.configfile import read_yaml

REFUSED = 1
"""Exit status of what the fleet refused, cannot do, or aborted."""

MOST_LISTED = 100

COMMANDS = {
    "pause": "stop at the present step until `resume`",
    "resume": "go on after `pause`",
    "approve": "end a pause that waits for somebody",
    "promote": "skip all steps that are left and make the version champion now",
    "abort": "give all traffic back to stable and end the rollout",
}


def add_rollout_command(commands: Any) -> None:
    """Describe `rollout` to the command line.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    parser = commands.add_parser(
        "rollout",
        allow_abbrev=False,
        help="start, watch and steer rollouts",
        description="Talk to a running fleet's control API about its rollouts. Exit status 0"
        " when it did what was asked, 1 when it refused or the watched rollout was aborted.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    start = _action(actions, "start", _start, "try a version", needs_model=True)
    which = start.add_mutually_exclusive_group()
    which.add_argument(
        "--version",
        type=_version,
        metavar="V",
        help="version; the alias `challenger` if not given",
    )
    which.add_argument(
        "--versions", nargs="+", type=_version, metavar="V", help="arms of an A/B test"
    )
    start.add_argument(
        "--rollout",
        metavar="NAME|FILE",
        help="a template of the fleet's config, or a YAML file with settings; else the model's own",
    )
    start.add_argument("--watch", action="store_true", help="stay until it has ended")

    status = _action(actions, "status", _status, "show one model's rollout, or all")
    status.add_argument("model", nargs="?", metavar="MODEL")
    status.add_argument("--watch", action="store_true", help="stay, and show what changes")
    status.add_argument("--json", action="store_true", help="as the control API says it")

    for name, meaning in COMMANDS.items():
        action = _action(actions, name, _command, meaning, needs_model=True)
        action.set_defaults(command=name)
        action.add_argument("--reason", default="", metavar="TEXT", help="for the log")

    back = _action(actions, "rollback", _rollback, "bring a version back", needs_model=True)
    back.add_argument(
        "--version", type=_version, metavar="V", help="any registered one; else the previous"
    )
    back.add_argument("--reason", default="", metavar="TEXT", help="for the log")

    history = _action(
        actions, "history", _history, "what was rolled out, and why", needs_model=True
    )
    history.add_argument(
        "--limit", type=_limit, default=10, metavar="N", help="%(default)s if not given"
    )
    history.add_argument("--events", action="store_true", help="each step, with who and why")


def _action(
    actions: Any,
    name: str,
    run: Callable[[argparse.Namespace, ControlClient, Console], int],
    meaning: str,
    *,
    needs_model: bool = False,
) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, allow_abbrev=False, help=meaning)
    if needs_model:
        action.add_argument("model", metavar="MODEL")
    action.add_argument(
        "--url", help=f"control API of the fleet; {URL_VARIABLE} or {DEFAULT_URL} if not given"
    )
    action.set_defaults(run=_asking(run))
    return action


def _version(text: str) -> str:
    if not is_version(text):
        raise argparse.ArgumentTypeError(f"{text!r}: should be a version's number, such as 3")
    return text


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_LISTED:
        raise argparse.ArgumentTypeError(f"{text!r}: should be a number from 1 to {MOST_LISTED}")
    return int(text)


def _asking(
    run: Callable[[argparse.Namespace, ControlClient, Console], int],
) -> Callable[[argparse.Namespace], int]:
    def ask(options: argparse.Namespace) -> int:
        try:
            return run(options, ControlClient(options.url), Console(highlight=False))
        except ControlError as error:
            print(f"rayfleet: {error}", file=sys.stderr)
            return REFUSED

    return ask


def _start(options: argparse.Namespace, client: ControlClient, console: Console) -> int:
    body = {
        "version": options.version,
        "versions": options.versions,
        "rollout": _settings(options.rollout),
    }
    found = client.post(f"{_path(options.model)}/rollouts", body)
    if options.watch:
        return _watch_one(options.model, client, console, found["id"])
    console.print(screen(found))
    return 0


def _settings(given: str | None) -> Any:
    if given is None or not given.endswith((".yaml", ".yml")):
        return given
    return read_yaml(Path(given))


def _status(options: argparse.Namespace, client: ControlClient, console: Console) -> int:
    if options.watch and options.model is not None:
        return _watch_one(options.model, client, console)
    if options.watch:
        return _watch_all(client, console)
    path = "/rollouts" if options.model is None else f"{_path(options.model)}/rollout"
    found = client.get(path)
    if options.json:
        print(json.dumps(found, indent=2))
    elif options.model is not None:
        console.print(screen(found))
    elif found["rollouts"]:
        console.print(overview(found["rollouts"]))
    else:
        console.print("no model has had a rollout yet")
    return 0


def _command(options: argparse.Namespace, client: ControlClient, console: Console) -> int:
    body = {"reason": options.reason}
    console.print(screen(client.post(f"{_path(options.model)}/rollout/{options.command}", body)))
    return 0


def _rollback(options: argparse.Namespace, client: ControlClient, console: Console) -> int:
    body = {"version": options.version, "reason": options.reason}
    console.print(screen(client.post(f"{_path(options.model)}/rollback", body)))
    return 0


def _history(options: argparse.Namespace, client: ControlClient, console: Console) -> int:
    path = f"{_path(options.model)}/rollouts"
    rollouts = client.get(f"{path}?limit={options.limit}")["rollouts"]
    if not rollouts:
        _say(console, f"model {options.model!r} never had a rollout")
    for found in rollouts:
        _say(console, f"{_time(found['started_at_s'])}  {line(found)}")
        if options.events:
            for event in client.get(f"{path}/{quote(found['id'])}/events")["events"]:
                _say(console, f"  {_event(event)}")
    return 0


def _watch_one(
    model: str, client: ControlClient, console: Console, rollout: str | None = None
) -> int:
    """Show a rollout until it has ended, by default the model's last; its status says how."""
    key = rollout

    def look() -> Rollout:
        nonlocal key
        seen = _one(client, model, key)
        key = seen["id"]
        return seen

    found = _shown_until_it_ends(look, console)
    return 0 if found["phase"] == "successful" else REFUSED


def _one(client: ControlClient, model: str, key: str | None) -> Rollout:
    """A rollout by its id, for another one of the model may have begun; without one, the last."""
    last: Rollout = client.get(f"{_path(model)}/rollout")
    if key is None or last["id"] == key:
        return last
    listed: list[Rollout] = client.get(f"{_path(model)}/rollouts?limit={MOST_LISTED}")["rollouts"]
    return next((each for each in listed if each["id"] == key), last)


def _shown_until_it_ends(look: Callable[[], Rollout], console: Console) -> Rollout:
    found = look()  # not patiently: what was there before may come back, and nothing else
    if not console.is_terminal:
        said = ""
        while True:
            if line(found) != said:
                said = line(found)
                _say(console, said)
            if found["phase"] in ENDED:
                return found
            time.sleep(WATCH_S)
            found = patiently(look, ControlError)
    with redrawing(console) as live:
        live.update(screen(found), refresh=True)
        while found["phase"] not in ENDED:
            time.sleep(WATCH_S)
            found = patiently(look, ControlError)
            live.update(screen(found), refresh=True)
    return found


def _watch_all(client: ControlClient, console: Console) -> int:
    """Show all rollouts until Ctrl-C."""
    said: list[str] = []
    found = client.get("/rollouts")["rollouts"]
    with redrawing(console) as live:
        while True:
            if console.is_terminal:
                live.update(overview(found), refresh=True)
            else:
                now = [line(each) for each in found]
                for text in now:
                    if text not in said:
                        _say(console, text)
                said = now
            time.sleep(WATCH_S)
            found = patiently(lambda: client.get("/rollouts")["rollouts"], ControlError)


def _say(console: Console, text: str) -> None:
    """Print one line, in which brackets are brackets."""
    console.print(text, markup=False, soft_wrap=True)


def _event(event: dict[str, Any]) -> str:
    change = f" {event['before']} → {event['after']}" if event["after"] else ""
    reason = f": {event['reason']}" if event["reason"] else ""
    return plain(f"{_time(event['at_s'])}  {event['actor']}  {event['kind']}{change}{reason}")


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _path(model: str) -> str:
    return f"/deployments/{quote(model, safe='')}"
