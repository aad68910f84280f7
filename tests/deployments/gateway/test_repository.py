"""Load, unload and statistics, as stock clients ask for them."""

import json
from typing import Any

import pytest

from deployments.errors import ConflictError, ForbiddenError, ModelNotReadyError
from tests.deployments.gateway.hosted import INFER, ROW, SPLIT, Fleet, post

pytestmark = pytest.mark.usefixtures("door")
REPOSITORY = "/v2/repository/models/wine"


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        pytest.param("load", b"", ("load", "wine", None), id="load"),
        pytest.param("load", b"{}", ("load", "wine", None), id="empty-object"),
        pytest.param(
            "load",
            json.dumps({"parameters": {"config": '{"num_replicas": 2}'}}).encode(),
            ("load", "wine", {"num_replicas": 2}),
            id="with-settings",
        ),
        pytest.param("unload", b"", ("unload", "wine"), id="unload"),
        pytest.param(
            "unload",
            b'{"parameters": {"unload_dependents": false}}',
            ("unload", "wine"),
            id="as-tritonclient-sends-it",
        ),
    ],
)
def test_the_fleet_is_asked(path: str, body: bytes, asked: tuple[Any, ...]) -> None:
    fleet = Fleet()

    response = fleet("POST", f"{REPOSITORY}/{path}", content=body)

    assert (response.status_code, response.json()) == (200, {})
    assert fleet.surroundings.asked == [asked]


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        pytest.param(ForbiddenError("not here"), 403, id="not-allowed"),
        pytest.param(ConflictError("the config's"), 409, id="the-config-s"),
        pytest.param(ModelNotReadyError("wine", "no such file"), 503, id="cannot-be-loaded"),
    ],
)
def test_a_refusal_is_in_the_protocol_s_form(refusal: Any, status: int) -> None:
    fleet = Fleet()
    fleet.surroundings.refusal = refusal

    response = fleet("POST", f"{REPOSITORY}/load")

    assert (response.status_code, response.json()) == (status, {"error": str(refusal)})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("load", b"{", 400, id="no-json"),
        pytest.param("load", b"[]", 400, id="a-list"),
        pytest.param("load", b'{"parameters": 1}', 400, id="parameters"),
        pytest.param("load", b'{"parameters": {"config": {}}}', 400, id="config-is-no-text"),
        pytest.param("load", b'{"parameters": {"config": "{"}}', 400, id="config-is-no-json"),
        pytest.param("load", b'{"parameters": {"file:1/model.pt": "eA=="}}', 400, id="files"),
        pytest.param("reload", b"", 404, id="unknown-action"),
    ],
)
def test_nonsense_is_refused(path: str, body: bytes, status: int) -> None:
    fleet = Fleet()

    response = fleet("POST", f"{REPOSITORY}/{path}", content=body)

    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert fleet.surroundings.asked == []


class TestStatistics:
    def test_of_a_version(self) -> None:
        fleet = Fleet()
        for _ in range(3):
            post(fleet, INFER, ROW)
        wide = {"inputs": [{**ROW["inputs"][0], "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}]}
        post(fleet, INFER, wide)
        post(fleet, INFER, {"inputs": []})

        (found,) = fleet("GET", "/v2/models/churn/versions/1/stats").json()["model_stats"]

        assert (found["name"], found["version"]) == ("churn", "1")
        assert (found["inference_count"], found["execution_count"]) == (5, 4)
        assert found["last_inference"] > 1.7e12
        stats = found["inference_stats"]
        assert (stats["success"]["count"], stats["fail"]["count"]) == (4, 1)
        assert stats["compute_infer"] == {"count": 4, "ns": 4 * 2_000_000}
        assert stats["queue"]["count"] == 4

    @pytest.mark.parametrize(
        ("path", "versions"),
        [
            pytest.param("/v2/models/stats", ["2", "1"], id="all"),
            pytest.param("/v2/models/churn/stats", ["2", "1"], id="a-model"),
            pytest.param("/v2/models/churn/versions/2/stats", ["2"], id="a-version"),
        ],
    )
    def test_which_versions(self, path: str, versions: list[str]) -> None:
        found = Fleet(SPLIT)("GET", path).json()["model_stats"]

        assert [entry["version"] for entry in found] == versions
        assert {entry["inference_count"] for entry in found} == {0}

    @pytest.mark.parametrize(
        "path",
        ["/v2/models/nobody/stats", "/v2/models/churn/versions/9/stats", "/v2/models/a/b/stats"],
    )
    def test_of_what_is_not_there(self, path: str) -> None:
        assert Fleet()("GET", path).status_code == 404
