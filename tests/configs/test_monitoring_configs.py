"""The shipped Prometheus and Alertmanager configs, as their own checkers read them."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.predictor.runtimes import budget_gauges
from deployments.telemetry import FAMILIES, Kind
from tests.documents import REPOSITORY, section
from tuning import gauges

CONFIGS = REPOSITORY / "configs"
MONITORING = CONFIGS / "monitoring"
PROMETHEUS = MONITORING / "prometheus.yaml"
RULES = sorted(MONITORING.glob("rules/*.yaml"))
CASES = sorted(Path(__file__).parent.glob("rules/*.yaml"))
RUNBOOKS = REPOSITORY / "docs" / "runbooks.md"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def rules() -> list[dict[str, Any]]:
    """All rules of all files."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def check(*command: str | Path) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@needs_promtool
def test_promtool_accepts_the_config() -> None:
    check("promtool", "check", "config", "--syntax-only", PROMETHEUS)


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_accepts_the_rules(path: Path) -> None:
    check("promtool", "check", "rules", path)


@needs_promtool
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    check("promtool", "test", "rules", path)


def cases() -> Iterable[dict[str, Any]]:
    for path in CASES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            yield from test["alert_rule_test"]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_and_not(alert: str) -> None:
    fires = {bool(case["exp_alerts"]) for case in cases() if case["alertname"] == alert}

    assert fires == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    runbook = section(RUNBOOKS, alert)

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{alert.lower()}"
    for part in ("**Means**", "**Look at**", "**Do**"):
        assert part in runbook


def test_runbooks_are_about_alerts_that_exist() -> None:
    headings = re.findall(r"^### (Rayfleet\w+)$", RUNBOOKS.read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(ALERTS)


def exposed() -> set[str]:
    """Every series that the fleet has of its own, as Prometheus calls it."""
    names = {f"ray_{name}" for name in (*gauges.HELP, *budget_gauges.HELP)}
    for family in FAMILIES:
        match family.kind:
            case Kind.COUNTER:
                names.add(f"{family.name}_total")
            case Kind.GAUGE:
                names.add(family.name)
            case Kind.HISTOGRAM:
                names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def test_rules_read_metrics_that_there_are() -> None:
    text = " ".join(rule["expr"] for rule in rules())

    # A recorded series has a level before its colon; those of own objectives are the operator's.
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = set(re.findall(r"(?<![:\w])(?:ray_)?rayfleet_\w+", text))
    assert used <= exposed()
    levels = set(re.findall(r"\b(?:model|version):rayfleet_\w+:\w+", text))
    assert {name for name in levels - recorded if ":own_" not in name} == set()


def test_latency_thresholds_are_edges_of_buckets() -> None:
    (threshold,) = [r for r in rules() if r.get("record") == "model:rayfleet_latency:threshold"]
    (latency,) = [family for family in FAMILIES if family.name == "rayfleet_request_seconds"]

    (edge,) = re.findall(r'"le", "([\d.]+)"', threshold["expr"])

    assert edge in {str(float(each)) for each in latency.edges}


def test_scraped_port_is_the_one_the_fleet_listens_on() -> None:
    fleet = yaml.safe_load((CONFIGS / "fleet.yaml").read_text())["http_options"]
    jobs = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]

    targets = {job["job_name"]: job.get("static_configs") for job in jobs}

    assert targets["rayfleet"] == [{"targets": [f"{fleet['host']}:{fleet['port']}"]}]
