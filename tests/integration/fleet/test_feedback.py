"""Labels find the version that answered, whichever door the request came by."""

import json
from typing import Any

import pytest

from tests.integration.hosting import Fleet, eventually, infer_body

pytestmark = pytest.mark.ray

PATH = "/api/v1/feedback"
JSON = {"Content-Type": "application/json"}


def say(fleet: Fleet, **item: Any) -> tuple[int, Any]:
    body = json.dumps({"model": "wine", **item}).encode()
    status, _, answer = fleet.call(PATH, body, JSON, door=fleet.control_url)
    return status, json.loads(answer)


def test_feedback_counts_for_the_version_that_answered(fleet: Fleet) -> None:
    hosted = fleet.models["wine"]
    row = hosted.holdout_rows[:1]
    request = infer_body(row)
    invocation = json.dumps({"inputs": row.tolist()}).encode()
    settings = {**fleet.user_config, "wine": {**fleet.user_config["wine"], "feedback": {}}}
    fleet.deploy(settings)
    try:
        eventually("a request is remembered", lambda: remembered(fleet, request))
        for door in (fleet.url, fleet.express_url):
            _, _, answer = fleet.call("/v2/models/wine/infer", request, door=door)
            first = json.loads(answer)
            scores = first["outputs"][0]["data"]
            label = scores.index(max(scores))

            status, said = say(fleet, request_id=first["id"], label=label, reward=0.5)
            assert (status, said["results"][0]["outcome"]) == (200, "counted")
            assert said["results"][0]["version"] == first["model_version"]
            status, said = say(fleet, request_id=first["id"], label=label)
            assert (status, said["results"][0]["outcome"]) == (200, "duplicate")

            _, headers, _ = fleet.call("/models/wine/invocations", invocation, JSON, door=door)
            status, said = say(fleet, request_id=headers["x-request-id"], label=label)
            assert (status, said["results"][0]["version"]) == (200, first["model_version"])
        status, said = say(fleet, request_id="nobody", label=1)
        assert status == 404
        assert "is not remembered" in said["error"]
    finally:
        fleet.deploy(fleet.user_config)


def remembered(fleet: Fleet, request: bytes) -> bool:
    """Whether the gateway has heard of the settings."""
    _, _, answer = fleet.call("/v2/models/wine/infer", request)
    status, said = say(fleet, request_id=json.loads(answer)["id"], reward=1.0)
    assert status == 200 or "feedback" in said["error"] or "remembered" in said["error"], said
    return status == 200


def test_registry_events_are_closed_without_a_secret(fleet: Fleet) -> None:
    assert fleet.call("/api/v1/registry-events", b"{}", door=fleet.control_url)[0] == 404
