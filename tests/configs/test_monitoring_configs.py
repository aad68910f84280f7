"""The shipped Prometheus and Alertmanager configs, as their own checkers read them."""

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.telemetry import FAMILIES
from tests.configs.metrics import MONITORING, RULES, exposed, recorded, rules
from tests.documents import REPOSITORY, section

CONFIGS = REPOSITORY / "configs"
PROMETHEUS = MONITORING / "prometheus.yaml"
ALERTMANAGER = MONITORING / "alertmanager.yaml"
CASES = sorted(Path(__file__).parent.glob("rules/*.yaml"))
RUNBOOKS = REPOSITORY / "docs" / "runbooks.md"
RUNBOOKS_LABEL = "{{ $externalLabels.runbooks }}"
RUNBOOKS_VARIABLE = "RAYFLEET_RUNBOOKS"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


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


@pytest.mark.thorough
@pytest.mark.ray  # promtool evaluates all rules over days, which takes seconds
@needs_promtool
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    check("promtool", "test", "rules", path)


@pytest.mark.skipif(
    shutil.which("amtool") is None,
    reason="amtool is missing: apt-get install prometheus-alertmanager",
)
class TestAlertmanager:
    def test_amtool_accepts_the_config(self) -> None:
        check("amtool", "check-config", ALERTMANAGER)

    @pytest.mark.parametrize(("severity", "receiver"), [("page", "on-call"), ("ticket", "tickets")])
    def test_alerts_go_where_their_severity_says(self, severity: str, receiver: str) -> None:
        config = f"--config.file={ALERTMANAGER}"
        wanted = f"--verify.receivers={receiver}"
        check("amtool", "config", "routes", "test", config, wanted, f"severity={severity}")


def test_alertmanager_is_where_prometheus_looks_for_it() -> None:
    (manager,) = yaml.safe_load(PROMETHEUS.read_text())["alerting"]["alertmanagers"]

    (target,) = manager["static_configs"][0]["targets"]
    assert f"--web.listen-address={target}" in ALERTMANAGER.read_text().splitlines()[0]


def test_alerts_that_silence_others_exist() -> None:
    rules = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]

    names = re.findall(r"Rayfleet\w+", str(rules))
    assert names
    assert set(names) <= ALERTS.keys()


@functools.cache
def cases() -> list[dict[str, Any]]:
    """What promtool is told to expect of alerts."""
    files = [yaml.safe_load(path.read_text()) for path in CASES]
    tests = [test for file in files for test in file["tests"]]
    return [case for test in tests for case in test["alert_rule_test"]]


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
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS_LABEL}#{alert.lower()}"
    for part in ("**Means**", "**Look at**", "**Do**"):
        assert part in runbook


def test_where_runbooks_are_is_said_once_and_no_part_of_an_alert() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text())
    page = (REPOSITORY / "docs" / "observability.md").read_text()
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())

    assert config["global"]["external_labels"] == {"runbooks": f"${{{RUNBOOKS_VARIABLE}}}"}
    (dropped,) = config["alerting"]["alert_relabel_configs"]
    assert dropped == {"action": "labeldrop", "regex": "runbooks"}
    assert f"export {RUNBOOKS_VARIABLE}=https://" in page
    given = compose["services"]["prometheus"]["environment"][RUNBOOKS_VARIABLE]
    assert given.startswith(f"${{{RUNBOOKS_VARIABLE}:-https://")
    assert given.endswith("/docs/runbooks.md}")


def test_runbooks_are_about_alerts_that_exist() -> None:
    headings = re.findall(r"^### (Rayfleet\w+)$", RUNBOOKS.read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(ALERTS)


def test_rules_read_metrics_that_there_are() -> None:
    text = " ".join(rule["expr"] for rule in rules())

    # A recorded series has a level before its colon; those of own objectives are the operator's.
    used = set(re.findall(r"(?<![:\w])(?:ray_)?rayfleet_\w+", text))
    assert used <= exposed()
    levels = set(re.findall(r"\b(?:model|version):rayfleet_\w+:\w+", text))
    assert {name for name in levels - recorded() if ":own_" not in name} == set()


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
