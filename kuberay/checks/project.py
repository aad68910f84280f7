"""What the manifests must agree with: the lock file, the configs, the Secrets that are made."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kuberay.checks.objects import load

REPOSITORY = Path(__file__).parents[2]

SECRET = re.compile(r"^secret (\S+) (.+)$", re.MULTILINE)
"""A line of `secrets.sh` that makes one."""

ELSEWHERE = {"fleet-tls": frozenset({"tls.crt", "tls.key"})}
"""Secrets that cert-manager makes in the cluster."""


@dataclass(frozen=True, slots=True)
class Project:
    """Facts from outside the manifests."""

    version: str
    """Of this package."""

    ray: str
    """Version of Ray in the lock file."""

    secrets: Mapping[str, frozenset[str]]
    """Keys of the Secrets that are made, by name."""

    configs: Mapping[str, str]
    """Texts of the serve configs, by path in the repository."""

    jobs: frozenset[str]
    """Names of Prometheus's jobs."""

    rules: Mapping[str, Any]
    """Prometheus's rules, by the name of their file."""


def read_project(root: Path = REPOSITORY) -> Project:
    """Read them from a clone."""
    lock = (root / "requirements.lock").read_text()
    pinned = re.search(r"^ray==(\S+)$", lock, re.MULTILINE)
    if pinned is None:
        raise ValueError("requirements.lock: no line ray==VERSION")
    made = SECRET.findall((root / "kuberay" / "secrets.sh").read_text())
    configs = {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.glob("configs/*.yaml"))
    }
    monitoring = root / "configs" / "monitoring"
    scraping = load((monitoring / "prometheus.yaml").read_text())[0]
    return Project(
        version=tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"],
        ray=pinned[1],
        secrets={name: frozenset(keys.split()) for name, keys in made} | ELSEWHERE,
        configs={path: text for path, text in configs.items() if "applications:" in text},
        jobs=frozenset(each["job_name"] for each in scraping["scrape_configs"]),
        rules={
            path.stem: load(path.read_text())[0] for path in sorted(monitoring.glob("rules/*.yaml"))
        },
    )
