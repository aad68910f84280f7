"""The shipped Prometheus config, as Prometheus's own checker reads it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "configs"
PROMETHEUS = CONFIGS / "monitoring" / "prometheus.yaml"


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
def test_promtool_accepts_the_config() -> None:
    finished = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", PROMETHEUS],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_scraped_port_is_the_one_the_fleet_listens_on() -> None:
    fleet = yaml.safe_load((CONFIGS / "fleet.yaml").read_text())["http_options"]
    jobs = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]

    targets = {job["job_name"]: job.get("static_configs") for job in jobs}

    assert targets["rayfleet"] == [{"targets": [f"{fleet['host']}:{fleet['port']}"]}]
