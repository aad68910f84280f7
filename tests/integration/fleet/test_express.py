"""The express port of a real fleet: the same answers as at Serve's door, whoever comes or goes."""

import http.client
import json
import threading
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.integration.hosting import (
    SERVED,
    Fleet,
    eventually,
    in_parallel,
    infer_body,
    kill,
    pids_of,
    replica_pids,
)
from tests.integration.load import Load, Outcome, questions_for

pytestmark = pytest.mark.ray

GATEWAY = "fleet#Gateway"
JSON = {"Content-Type": "application/json"}

OF_THE_DOOR = {"date", "server", "x-request-id", "connection", "keep-alive", "transfer-encoding"}
"""Headers that belong to a server, or to one request."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v2", None, id="server"),
        pytest.param("/v2/health/ready", None, id="ready"),
        pytest.param("/v2/models/wine", None, id="metadata"),
        pytest.param("/v2/repository/index", b"", id="index"),
        pytest.param("/ping", None, id="ping"),
        pytest.param("/v2/models/nobody", None, id="unknown-model"),
        pytest.param("/nowhere", None, id="unknown-path"),
        pytest.param("/v2/models/wine/infer", b"{", id="not-json"),
        pytest.param("/models/wine/invocations", b"{}", id="no-rows"),
        pytest.param("/-/healthz", None, id="load-balancer"),
    ],
)
def test_both_doors_answer_alike(fleet: Fleet, path: str, body: bytes | None) -> None:
    at_serve = fleet.call(path, body, JSON)
    at_express = fleet.call(path, body, JSON, door=fleet.express_url)

    assert comparable(at_express) == comparable(at_serve)


@pytest.mark.parametrize("model", SERVED)
def test_both_doors_predict_alike(fleet: Fleet, model: str) -> None:
    body = infer_body(fleet.models[model].holdout_rows)
    headers = {**JSON, "X-Request-Id": "one", "X-Routing-Key": "one"}
    path = f"/v2/models/{model}/infer"

    at_serve = fleet.call(path, body, headers)
    at_express = fleet.call(path, body, headers, door=fleet.express_url)

    assert comparable(at_express) == comparable(at_serve)
    assert at_express[1]["x-request-id"] == at_serve[1]["x-request-id"] == "one"


def test_inference_at_serves_port_soon_goes_past_serve(fleet: Fleet) -> None:
    body = infer_body(fleet.models["wine"].holdout_rows[:1])
    # Serve makes up ids with dashes, the gateways without.
    seen: list[bool] = []

    def is_past_serve() -> bool:
        _, headers, _ = fleet.call("/v2/models/wine/infer", body, JSON)
        seen.append("-" not in headers["x-request-id"])
        return seen[-16:] == [True] * 16

    eventually("HAProxy's connections are taken over", is_past_serve)


def test_gateways_replaced_under_load_lose_no_request(fleet: Fleet) -> None:
    before = gateways(fleet)
    body = infer_body(fleet.models["breast-cancer"].holdout_rows[:1])
    statuses: Counter[Any] = Counter()
    done = threading.Event()

    def keep() -> None:
        connection = connect(fleet)
        while not done.is_set():
            statuses[post(connection, body)] += 1  # it reconnects when it was told to close

    def come_and_go() -> None:
        while not done.is_set():
            statuses[post(connect(fleet), body, {"Connection": "close"})] += 1

    def replace() -> None:
        try:
            # The other tests keep it: to go back would replace both once more.
            fleet.more_args["request_deadline_s"] = 9
            fleet.deploy(fleet.user_config)
            eventually("two new gateways", partial(are_replaced, fleet, before))
        finally:
            done.set()

    in_parallel([replace, *[keep] * 4, *[come_and_go] * 2])

    assert set(statuses) == {200}
    assert statuses[200] > 100


def test_a_killed_gateway_costs_only_its_connections(fleet: Fleet) -> None:
    eventually("two gateways", partial(are_replaced, fleet, set()))
    questions = questions_for("breast-cancer", fleet.models["breast-cancer"])

    with Load(fleet.doors, questions, clients=6) as load:
        dead = kill(replica_pids(fleet), GATEWAY)
        eventually("Serve replaces it", partial(are_replaced, fleet, {dead}))
        load.wait_for_answers(50)

    assert load.tally.failed == 0, load.tally.details()
    assert load.tally.count(Outcome.CUT) <= 2 * 6, load.tally.details()


def test_batches_go_to_the_replicas_own_doors(fleet: Fleet) -> None:
    """Two gateways on this node are connected to each replica's Unix socket."""

    def doors() -> Counter[str]:
        """Sockets with a door's address: the one that listens, and one for each connection."""
        replicas = {pid: name for (name, pid) in replica_pids(fleet)}
        found = psutil.net_connections(kind="unix")
        return Counter(
            replicas.get(each.pid or 0, "") for each in found if ".replica" in each.laddr
        )

    eventually("two gateways", partial(are_replaced, fleet, set()))
    eventually("connections", lambda: doors()["digits--v1#Predictor"] == 3)
    assert doors()["wine--v1#Predictor"] == 1  # its transport is Serve's handle


def connect(fleet: Fleet) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(fleet.express_url).netloc, timeout=60)


def post(
    connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str] | None = None
) -> Any:
    try:
        connection.request(
            "POST", "/v2/models/breast-cancer/infer", body, {**JSON, **(headers or {})}
        )
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return repr(error)
    return answer.status


def gateways(fleet: Fleet) -> set[int]:
    return pids_of(fleet, GATEWAY)


def are_replaced(fleet: Fleet, before: set[int]) -> bool:
    """Whether two gateways answer that were not there before."""
    now = gateways(fleet)
    well = fleet.status()["fleet"]["status"] == "RUNNING"
    return well and len(now) == 2 and not now & before


def comparable(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], Any]:
    status, headers, body = answer
    kept = {name: value for name, value in headers.items() if name not in OF_THE_DOOR}
    try:
        return status, kept, json.loads(body)
    except ValueError:
        return status, kept, body
