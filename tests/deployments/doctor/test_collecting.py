"""Facts that can be collected without a fleet."""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deployments.controller.gauges import RolloutWatch, fleet_gauges
from deployments.doctor.collecting import collect, parsed
from deployments.doctor.facts import Door
from deployments.haproxy import free_port
from deployments.telemetry import REVISION, Counters, exposition
from tests.documents import REPOSITORY
from tests.fakes import make_table
from tuning.authentication import TOKEN_VARIABLES


def test_a_fleet_s_parts_are_read_off_its_metrics() -> None:
    gateways = [Counters("a"), Counters("b")]
    for gateway in gateways:
        gateway.set(REVISION, (), 7)
    reachable = {"registry": True, "fleet store": False}
    own = fleet_gauges(make_table(), reachable, 3, RolloutWatch(), config_refused=True)

    metrics = exposition([*(gateway.snapshot() for gateway in gateways), own]).decode()

    assert parsed(metrics) == {
        "dependencies": {"registry": True, "store": False},
        "gateways": 2,
        "gateways_wanted": 3,
        "config_refused": True,
    }


def test_without_a_controller_only_the_gateway_that_answers_is_seen() -> None:
    alone = Counters("a")
    alone.set(REVISION, (), 7)

    assert parsed(exposition([alone.snapshot()]).decode()) == {"dependencies": {}, "gateways": 1}


class Guarded(BaseHTTPRequestHandler):
    """Lets in who says `bob` and `secret`."""

    def do_GET(self) -> None:
        known = f"Basic {b64encode(b'bob:secret').decode()}"
        self.send_response(200 if self.headers["Authorization"] == known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def guarded() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.ray
class TestThisMachine:
    def test_nothing_is_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))

        facts = collect(None)

        assert facts.unmet == {}
        assert facts.home.writable
        assert (facts.registry.absent, facts.store.absent) == (True, True)
        assert facts.fleet is None
        assert not (tmp_path / "home").exists()

    def test_a_file_in_the_place_of_the_home_is_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "home").touch()
        monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))

        facts = collect(None)

        assert facts.home.is_file
        assert facts.registry.error is not None

    @pytest.mark.parametrize(
        ("variables", "has_token"),
        [
            pytest.param({"RAY_AUTH_TOKEN": "secret"}, True, id="token"),
            pytest.param({"RAY_AUTH_TOKEN": ""}, False, id="empty"),
            pytest.param({"RAY_AUTH_TOKEN_PATH": "/nonexistent"}, False, id="no-such-file"),
        ],
    )
    def test_a_token_is_one_only_if_it_is_there(
        self,
        variables: dict[str, str],
        has_token: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in TOKEN_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        assert collect(None).ray.has_token is has_token

    def test_a_server_may_have_a_name_and_a_password_in_its_address(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path))
        with guarded() as port:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://bob:secret@127.0.0.1:{port}")
            let_in = collect(None).registry
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://bob:other@127.0.0.1:{port}")
            kept_out = collect(None).registry

        assert (let_in.address, let_in.error) == (f"http://bob:***@127.0.0.1:{port}", None)
        assert "401" in str(kept_out.error)
        assert "other" not in str(kept_out)

    @pytest.mark.parametrize(
        ("variable", "address", "away"),
        [
            pytest.param(
                "MLFLOW_TRACKING_URI", "http://127.0.0.1:{port}", "registry", id="registry"
            ),
            pytest.param(
                "RAYFLEET_STORE", "postgresql://me@127.0.0.1:{port}/fleet", "store", id="store"
            ),
        ],
    )
    def test_a_config_is_not_wrong_because_what_it_names_is_away(
        self,
        variable: str,
        address: str,
        away: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.setenv(variable, address.format(port=free_port()))

        facts = collect(REPOSITORY / "configs" / "pool.yaml")

        assert (facts.config_faults, facts.config_away) == ((), True)
        assert getattr(facts, away).error is not None

    def test_a_port_of_somebody_else_s_is_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path))
        text = (REPOSITORY / "configs" / "fleet.yaml").read_text()
        port = free_port()
        config = tmp_path / "fleet.yaml"
        config.write_text(text.replace("port: 8000", f"port: {port}"))

        with socket.create_server(("127.0.0.1", port)):
            facts = collect(config)

        doors = {each.name: each.door for each in facts.ports}
        assert doors["http_options.port"] is Door.OTHERS
        assert Door.FREE in doors.values()
