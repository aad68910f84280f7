"""`rayfleet doctor` looks at a real fleet."""

import json
import os
import subprocess
from typing import Any

import pytest

from tests.integration.hosting import BIN, REPOSITORY, Fleet

pytestmark = pytest.mark.ray


@pytest.mark.thorough
def test_doctor_finds_the_fleet_its_ports_and_what_is_wrong_with_it(fleet: Fleet) -> None:
    # One that cannot be loaded is tried again now and then, and is neither meanwhile.
    unavailable = None
    while unavailable is None or unavailable != unavailable_of(fleet):
        unavailable = unavailable_of(fleet)
        status, report = doctor(fleet)

    levels: dict[str, set[str]] = {}
    for finding in report["findings"]:
        levels.setdefault(finding["area"], set()).add(finding["level"])
    assert levels["ports"] == levels["registry"] == levels["store"] == {"ok"}
    said = {finding["what"] for finding in report["findings"]}
    assert "it is ready" in said
    wrong = {each["what"].split()[0] for each in report["findings"] if each["level"] == "wrong"}
    assert wrong == unavailable
    assert status == (1 if unavailable else 0)


def unavailable_of(fleet: Fleet) -> set[str]:
    return {name for (name, _), entry in fleet.index().items() if entry["state"] == "UNAVAILABLE"}


def doctor(fleet: Fleet) -> tuple[int, dict[str, Any]]:
    finished = subprocess.run(
        [BIN / "rayfleet", "doctor", fleet.folder / "fleet.yaml", "--json"],
        env={**os.environ, **fleet.cluster.environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.stdout, finished.stderr
    return finished.returncode, json.loads(finished.stdout)
