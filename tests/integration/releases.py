"""Versions of a model that come and go on a real fleet, and what answers meanwhile."""

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlflow

from tests.integration.hosting import Fleet, eventually, replica_pids
from tests.integration.load import Load, Question
from tests.integration.stages import Stage

KEYS = 33
"""Routing keys that are asked about again and again."""


@dataclass
class Traffic:
    """Which version of a model answered, and when."""

    model: str
    answers: list[tuple[float, str]] = field(default_factory=list)

    def questions(self) -> list[Question]:
        """Numbers to double, some of which bad versions do badly."""
        return [self._question(float(number)) for number in range(1, 100)]

    def questions_of_users(self) -> list[Question]:
        """The same, and every fourth with one of a few routing keys; the others have none."""
        questions = self.questions()
        per_key = len(questions) // KEYS
        return [
            each
            for user in range(KEYS)
            for each in (
                *questions[user * per_key : (user + 1) * per_key],
                self._question(float(user + 1), f"user-{user}"),
            )
        ]

    def since(self, start_s: float) -> Counter[str]:
        """Answers by version from a moment on, to those without a routing key."""
        return Counter(version for at_s, version in self.answers[:] if at_s >= start_s)

    def last(self, version: str) -> float:
        """When a version answered last."""
        return max(at_s for at_s, each in self.answers if each == version)

    def _question(self, number: float, key: str = "") -> Question:
        tensor = {"name": "input-0", "shape": [1, 1], "datatype": "FP64", "data": [number]}

        def is_right(answer: Any) -> bool:
            if not key:
                self.answers.append((time.monotonic(), answer["model_version"]))
            return bool(answer["outputs"][0]["data"] == [2 * number])

        body = json.dumps({"inputs": [tensor]}).encode()
        return Question(f"/v2/models/{self.model}/infer", body, is_right, key)


@dataclass
class Releases:
    """A model of a fleet, whose versions come and go."""

    fleet: Fleet
    registry: mlflow.MlflowClient
    model: str

    @property
    def api(self) -> str:
        """Path of the model in the control API."""
        return f"/api/v1/deployments/{self.model}"

    def ask(self, path: str, body: Any = None, expected: int | None = None) -> Any:
        """Call the control API about the model."""
        data = None if body is None else json.dumps(body).encode()
        header = {"Content-Type": "application/json"}
        status, _, text = self.fleet.call(
            self.api + path, data, header, door=self.fleet.control_url
        )
        wanted = expected or (200 if body is None else 201)
        assert status == wanted, text
        return json.loads(text)

    def current(self) -> dict[str, Any]:
        """The rollout on its way, or the last."""
        return dict(self.ask("/rollout"))

    def versions_tried(self) -> list[str]:
        """What was rolled out, newest first."""
        return [each["version"] for each in self.ask("/rollouts")["rollouts"]]

    def reaches(self, *phases: str, weight: int | None = None) -> dict[str, Any]:
        """Wait until the rollout is in one of some phases, with a weight if one is given."""

        def there() -> dict[str, Any] | None:
            now = self.current()
            fits = now["phase"] in phases and weight in {None, now["weight"]}
            ended = now["phase"] in {"aborted", "successful"}
            assert fits or not ended, now["reason"]
            return now if fits else None

        found: dict[str, Any] = eventually(f"{phases} {weight or ''}", there)
        return found

    def has(self, weights: Mapping[str, int]) -> bool:
        """Whether the controller's table has these weights by version."""
        shown = {each["version"]: each["weight"] for each in self.ask("")["versions"]}
        return {version: shown.get(version) for version in weights} == weights

    def in_force(self, **weights: int) -> None:
        """Wait until every gateway acts on these weights by version."""
        wanted = {version.removeprefix("v"): weight for version, weight in weights.items()}

        def is_so() -> bool:
            revision = self._revision()
            # Read before and after: it is the revision of the table with these weights.
            return self.has(wanted) and gateways_have(self.fleet) == {revision} == {
                self._revision()
            }

        eventually(f"{weights}", is_so)

    def stage(self, load: Load, weights: Mapping[str, int], answers: int | None = None) -> Stage:
        """Let requests come while every gateway acts on these weights.

        Args:
            load: Goes on.
            weights: Percent by version.
            answers: How many of them; None goes on until the weights change.
        """
        self.in_force(**{f"v{version}": weight for version, weight in weights.items()})
        began_s = ended_s = load.now_s
        least = len(load.tally.asked) + (answers or 0)

        def is_over() -> bool:
            nonlocal ended_s
            now_s = load.now_s
            if not self.has(weights):
                assert answers is None, f"{weights} changed too early"
                return True
            ended_s = now_s
            return answers is not None and len(load.tally.asked) >= least

        eventually(f"what comes after {weights}", is_over)
        return Stage(weights, began_s, ended_s)

    def _revision(self) -> int:
        status, _, body = self.fleet.call("/api/v1/fleet", door=self.fleet.control_url)
        assert status == 200, body
        return int(json.loads(body)["revision"])

    def champion(self) -> str:
        return str(self.registry.get_registered_model(self.model).aliases["champion"])


@contextmanager
def hosted(
    fleet: Fleet, registry: mlflow.MlflowClient, model: str, spec: Mapping[str, Any]
) -> Iterator[Releases]:
    """Host a registered model that takes single numbers, and remove it in the end.

    Args:
        fleet: Where.
        registry: That the fleet looks at.
        model: Has a champion.
        spec: Its settings.
    """
    releases = Releases(fleet, registry, model)
    eventually("the control API", lambda: listens(fleet, "/api/v1/fleet"))
    status, _, text = fleet.call(
        "/api/v1/deployments",
        json.dumps({"name": model, "spec": spec}).encode(),
        {"Content-Type": "application/json"},
        door=fleet.control_url,
    )
    assert status == 201, text
    eventually("it is ready", lambda: releases.ask("")["ready"])
    eventually("a gateway knows", lambda: fleet.infer(model, [[1.0]])[0] == 200)
    yield releases
    request = urllib.request.Request(fleet.control_url + releases.api, method="DELETE")
    urllib.request.urlopen(request, timeout=60).close()
    eventually("it is gone", lambda: fleet.call(f"/v2/models/{model}")[0] == 404)
    eventually(
        "its replicas are gone",
        lambda: not any(name.startswith(f"{model}--") for name, _ in replica_pids(fleet)),
    )


def other_than(stable: str) -> str:
    """The other of the two good versions of `fickle`."""
    return {"1": "2", "2": "1"}[stable]


def gateways_have(fleet: Fleet) -> set[int]:
    """Revisions of the tables that the gateways act on."""
    _, _, page = fleet.call("/metrics", door=fleet.express_url)
    name = b"rayfleet_table_revision{"
    lines = [line for line in page.splitlines() if line.startswith(name)]
    return {int(float(line.rpartition(b" ")[2])) for line in lines}


def has_share(counted: Counter[str], version: str, percent: int) -> bool:
    """Whether a share is within four and a half standard errors of what was asked for."""
    total, share = sum(counted.values()), percent / 100
    return bool(abs(counted[version] / total - share) <= 4.5 * (share * (1 - share) / total) ** 0.5)


def listens(fleet: Fleet, path: str) -> bool:
    """Whether the control API answers a question about something that there is."""
    try:
        return fleet.call(path, door=fleet.control_url)[0] == 200
    except OSError:
        return False
