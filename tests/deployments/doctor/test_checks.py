"""Each check, with the facts that it is about, and what it tells to do."""

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from deployments.doctor.checks import CHECKS, Check, Finding, Level, diagnose, is_wrong
from deployments.doctor.checks import authentication as check_authentication
from deployments.doctor.checks import config as check_config
from deployments.doctor.checks import fleet as check_fleet
from deployments.doctor.checks import gpus as check_gpus
from deployments.doctor.checks import haproxy as check_haproxy
from deployments.doctor.checks import memory as check_memory
from deployments.doctor.checks import ports as check_ports
from deployments.doctor.checks import registry as check_registry
from deployments.doctor.checks import storage as check_storage
from deployments.doctor.checks import store as check_store
from deployments.doctor.checks import versions as check_versions
from deployments.doctor.facts import (
    Dependency,
    Door,
    Facts,
    Folder,
    Port,
    Ray,
    RunningFleet,
    Version,
)
from tests.documents import REPOSITORY

SOUND = Facts(config="fleet.yaml", ports=(Port("http_options.port", "127.0.0.1:8000", Door.FREE),))
UP = {"registry": True, "store": True}
RUNNING = RunningFleet(ready=True, dependencies=UP, gateways=2, gateways_wanted=2)

MIB = 2**20
GIB = 2**30

CASES = [
    pytest.param(check_versions, {"python": (3, 10)}, "wrong", "Python 3.10", id="old-python"),
    pytest.param(
        check_versions, {"unmet": {"ray==2.60.0": "2.59.0"}}, "wrong",
        "ray==2.60.0 is required, 2.59.0 is installed", id="other-ray",
    ),
    pytest.param(
        check_versions, {"unmet": {"orjson>=3.10": None}}, "wrong",
        "orjson>=3.10 is required, nothing is installed", id="missing-package",
    ),
    pytest.param(check_config, {"config": None}, "warning", "none was looked at", id="no-config"),
    pytest.param(
        check_config, {"config_away": True}, "warning",
        "fleet.yaml was checked without what it names and does not answer", id="registry-away",
    ),
    pytest.param(
        check_config, {"config_faults": ("fleet.yaml: x: 1: no",)}, "wrong",
        "fleet.yaml: x: 1: no", id="bad-config",
    ),
    pytest.param(
        check_config, {"fleet": replace(RUNNING, config_refusal=("user_config.x: 1: no",))},
        "wrong", "the deployed one is refused, an older one is in force: user_config.x: 1: no",
        id="refused-config",
    ),
    pytest.param(
        check_ports, {"ports": (Port("http_options.port", "0.0.0.0:80", Door.OTHERS),)}, "wrong",
        "http_options.port 0.0.0.0:80 is taken by another program", id="taken-port",
    ),
    pytest.param(
        check_ports, {"fleet": RUNNING}, "wrong",
        "nobody listens at http_options.port 127.0.0.1:8000, though the fleet runs",
        id="door-of-a-fleet-is-shut",
    ),
    pytest.param(
        check_storage, {"home": Folder("/data", writable=False, free_bytes=10**12)}, "wrong",
        "/data cannot be written", id="read-only-home",
    ),
    pytest.param(
        check_storage, {"home": Folder("/data", writable=True, free_bytes=1, is_file=True)},
        "wrong", "/data is a file", id="home-is-a-file",
    ),
    pytest.param(
        check_storage, {"temporary": Folder("/tmp", writable=True, free_bytes=GIB)}, "wrong",
        "1.0 GiB are free at /tmp", id="full-disk",
    ),
    pytest.param(
        check_memory, {"available_bytes": GIB}, "wrong",
        "1.0 GiB are available, 2.0 GiB are needed", id="little-memory",
    ),
    pytest.param(
        check_memory, {"shared_memory_bytes": 64 * MIB}, "warning",
        "shared memory has 0.1 GiB: Ray keeps objects on the disk", id="docker-s-shm",
    ),
    pytest.param(
        check_memory, {"open_files": 1024}, "warning",
        "1024 open files are allowed: more connections than that are refused", id="few-files",
    ),
    pytest.param(
        check_registry, {"registry": Dependency("http://mlflow:5000", "refused")}, "wrong",
        "http://mlflow:5000: refused", id="registry-away",
    ),
    pytest.param(
        check_registry,
        {"fleet": replace(RUNNING, dependencies={"registry": False, "store": True})}, "wrong",
        "the fleet's controller cannot reach it", id="registry-away-from-the-controller",
    ),
    pytest.param(
        check_registry, {"registry": Dependency("databricks", asked=False)}, "warning",
        "databricks was not asked: no HTTP and no database", id="registry-of-another-kind",
    ),
    pytest.param(
        check_store, {"store": Dependency("postgresql://db/fleet", "no route")}, "wrong",
        "postgresql://db/fleet: no route", id="store-away",
    ),
    pytest.param(
        check_store,
        {"fleet": replace(RUNNING, dependencies={"registry": True, "store": False})}, "wrong",
        "the fleet's controller cannot reach it", id="store-away-from-the-controller",
    ),
    pytest.param(
        check_fleet, {"fleet": replace(RUNNING, ready=False)}, "wrong", "it is not ready",
        id="not-ready",
    ),
    pytest.param(
        check_fleet, {"fleet": replace(RUNNING, dependencies={})}, "wrong",
        "its controller does not answer", id="no-controller",
    ),
    pytest.param(
        check_fleet, {"fleet": replace(RUNNING, gateways=1, gateways_wanted=3)}, "wrong",
        "2 of 3 gateways do not report", id="gateways-missing",
    ),
    pytest.param(
        check_fleet,
        {"fleet": replace(RUNNING, versions=(Version("wine", "2", "UNAVAILABLE", "no file"),))},
        "wrong", "wine version 2 is UNAVAILABLE: no file", id="version-unavailable",
    ),
    pytest.param(
        check_fleet,
        {"fleet": replace(RUNNING, versions=(Version("wine", "2", "LOADING", ""),))},
        "warning", "wine version 2 is LOADING", id="version-loading",
    ),
    pytest.param(
        check_gpus, {"gpus_wanted": 0.5, "gpu_error": "no nvidia-smi"}, "wrong",
        "the config wants 0.5 GPUs: no nvidia-smi", id="no-driver",
    ),
    pytest.param(
        check_gpus, {"gpus_wanted": 2.0, "gpus": 1}, "wrong",
        "the config wants 2 GPUs, 1 are here", id="too-few-gpus",
    ),
    pytest.param(
        check_authentication, {"ray": Ray("head:6379", error="RAY_ADDRESS: no Ray there")},
        "wrong", "RAY_ADDRESS: no Ray there", id="no-ray",
    ),
    pytest.param(
        check_authentication, {"ray": Ray("local", mode="disabled")}, "warning",
        "RAY_AUTH_MODE is 'disabled': whoever reaches Ray's ports can run code there",
        id="open-to-all",
    ),
    pytest.param(
        check_authentication, {"ray": Ray("local", mode="tokn")}, "warning",
        "RAY_AUTH_MODE is 'tokn': whoever reaches Ray's ports can run code there",
        id="misspelt-mode",
    ),
    pytest.param(
        check_authentication, {"ray": Ray("head:6379", has_token=False)}, "warning",
        "there is no token for the Ray at head:6379, which refuses us if it asks for one",
        id="no-token",
    ),
    pytest.param(
        check_haproxy, {"haproxy_installed": False}, "warning",
        "it is not installed: Serve's own proxy answers Serve's port, at a third of the speed",
        id="no-haproxy",
    ),
    pytest.param(
        check_haproxy, {"haproxy_error": "exec format error"}, "wrong",
        "it does not run: exec format error", id="broken-haproxy",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "changes", "what"),
    [
        pytest.param(
            check_registry,
            {"registry": Dependency("sqlite:////h/mlflow.db", absent=True)},
            "sqlite:////h/mlflow.db is made with its first use",
            id="registry-not-made-yet",
        ),
        pytest.param(
            check_authentication,
            {"ray": Ray("local", mode="TOKEN")},
            "authentication is on",
            id="mode-in-capitals",
        ),
    ],
)
def test_what_looks_wrong_and_is_not(check: Check, changes: dict[str, object], what: str) -> None:
    (found,) = check(replace(SOUND, **changes))  # type: ignore[arg-type]

    assert (found.level, found.what) == (Level.OK, what)


@pytest.mark.parametrize(("check", "changes", "level", "what"), CASES)
def test_what_is_wrong_is_said_with_what_to_do(
    check: Check, changes: dict[str, object], level: str, what: str
) -> None:
    facts = replace(SOUND, **changes)  # type: ignore[arg-type]

    (found,) = [each for each in check(facts) if each.level is not Level.OK]

    assert (found.level, found.what) == (level, what)
    assert found.remedy


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_sound_machine_passes_each_check(check: Check) -> None:
    found = list(check(SOUND))

    assert found
    assert {each.level for each in found} == {Level.OK}


def test_a_sound_fleet_passes_all() -> None:
    ports = (Port("http_options.port", "127.0.0.1:8000", Door.FLEET),)

    findings = diagnose(replace(SOUND, fleet=RUNNING, ports=ports))

    assert {each.level for each in findings} == {Level.OK}
    assert {each.area for each in findings} == {
        "versions", "config", "ports", "storage", "memory", "registry", "store", "ray", "gpu",
        "haproxy", "fleet",
    }  # fmt: skip


def test_gpus_of_a_cluster_are_not_looked_for_on_this_machine() -> None:
    facts = replace(SOUND, gpus_wanted=2.0, ray=Ray("head:6379"))

    assert [each.level for each in check_gpus(facts)] == [Level.OK]


@pytest.mark.parametrize(
    ("level", "wrong"), [(Level.OK, False), (Level.WARNING, False), (Level.WRONG, True)]
)
def test_warnings_alone_are_not_wrong(level: Level, wrong: bool) -> None:
    assert is_wrong([Finding("ports", level, "x")]) is wrong


def test_every_fact_is_looked_at_by_a_case() -> None:
    changes: list[Any] = [case.values[1] for case in CASES]
    looked_at = {name for each in changes for name in each}

    assert {each.name for each in fields(Facts)} <= looked_at


def test_runbooks_that_remedies_name_exist() -> None:
    facts = [replace(SOUND, **case.values[1]) for case in CASES]  # type: ignore[arg-type]
    text = " ".join(each.remedy for fact in facts for each in diagnose(fact))
    headings = re.findall(r"^### (\w+)$", (REPOSITORY / "docs/runbooks.md").read_text(), re.M)

    named = set(re.findall(r"runbooks\.md#(\w+)", text))
    assert named
    assert named <= {heading.lower() for heading in headings}
