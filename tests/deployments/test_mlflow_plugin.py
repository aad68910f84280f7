"""MLflow's deployment client against a control API that the test plays."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

pytestmark = pytest.mark.ray  # imports MLflow

OLD = {"version": "1", "state": "READY", "reason": "", "runtime": "sklearn"}
NEW = {"version": "2", "state": "READY", "reason": "", "runtime": "sklearn"}
STABLE: dict[str, Any] = {
    "name": "wine", "ready": True, "in_force": True, "fault": "", "spec": {}, "versions": [OLD],
}  # fmt: skip


class Fleet:
    """Answers GETs of a deployment one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = [STABLE]
        self.sent: list[tuple[str, str, Any]] = []
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                fleet.sent.append((self.command, self.path, body))
                text = json.dumps(fleet.answer(self.command, self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = answer  # noqa: N815, the server's names

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def answer(self, method: str, path: str) -> Any:
        if path.endswith("/invocations"):
            return {"predictions": [1]}
        if path.endswith("/fleet"):
            return {"inference_url": f"http://{self.address}"}
        return self.shown.pop(0) if method == "GET" and len(self.shown) > 1 else self.shown[0]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    thread = Thread(target=fleet.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fleet
    fleet.server.shutdown()
    thread.join()
    fleet.server.server_close()


@pytest.fixture
def client(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Any:
    from deployments import mlflow_plugin  # noqa: PLC0415, MLflow's import takes seconds

    monkeypatch.setattr(mlflow_plugin, "POLL_S", 0.0)
    return mlflow_plugin.RayfleetClient(f"rayfleet://{fleet.address}")


def test_an_update_is_over_once_the_new_version_answers(fleet: Fleet, client: Any) -> None:
    fleet.shown = [
        STABLE,  # as it is before
        STABLE | {"in_force": False},
        STABLE | {"in_force": False, "versions": [NEW | {"state": "LOADING"}, OLD]},
        STABLE | {"versions": [NEW | {"state": "LOADING"}, OLD]},
        STABLE | {"versions": [NEW]},
    ]

    updated = client.update_deployment("wine", "models:/wine/2")

    assert updated["versions"] == [NEW]
    assert ("PUT", "/api/v1/deployments/wine", {"spec": {"traffic": {"2": 100}}}) in fleet.sent


def test_a_failure_of_before_is_not_the_update_s(fleet: Fleet, client: Any) -> None:
    broken = OLD | {"state": "UNAVAILABLE", "reason": "no such file"}
    fleet.shown = [
        STABLE,
        STABLE | {"ready": False, "in_force": False, "versions": [broken]},
        STABLE | {"versions": [NEW]},
    ]

    assert client.update_deployment("wine", "models:/wine/2")["versions"] == [NEW]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"versions": [NEW | {"state": "UNAVAILABLE", "reason": "no file"}, OLD]},
                     id="new-version-fails-beside-the-old-one"),
        pytest.param({"in_force": False, "fault": "no file"}, id="new-replicas-fail"),
    ],
)  # fmt: skip
def test_an_update_that_cannot_be_loaded_says_so(
    fleet: Fleet, client: Any, change: dict[str, Any]
) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    fleet.shown = [STABLE, STABLE | change]

    with pytest.raises(MlflowException, match="no file"):
        client.update_deployment("wine", "models:/wine/2")


def test_predictions_are_asked_for_with_all_digits(fleet: Fleet, client: Any) -> None:
    import pandas as pd  # noqa: PLC0415

    answer = client.predict("wine", pd.DataFrame({"a": [1.23e-12]}))

    split = {"columns": ["a"], "index": [0], "data": [[1.23e-12]]}
    assert answer["predictions"] == [1]
    assert fleet.sent[-1] == ("POST", "/models/wine/invocations", {"dataframe_split": split})


def test_inputs_without_a_form_are_the_caller_s_error(client: Any) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with pytest.raises(MlflowException, match="inputs have no JSON form"):
        client.predict("wine", [1j])
