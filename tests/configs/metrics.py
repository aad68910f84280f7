"""Names of the series that the fleet has, and of those that the shipped rules record."""

import functools
from typing import Any

import yaml

from deployments.predictor import driftgauges
from deployments.predictor.runtimes import budget_gauges
from deployments.telemetry import FAMILIES, Kind
from tests.documents import REPOSITORY
from tuning import gauges

MONITORING = REPOSITORY / "configs" / "monitoring"
RULES = sorted(MONITORING.glob("rules/*.yaml"))


@functools.cache
def rules() -> list[dict[str, Any]]:
    """All rules of all files."""
    files = [yaml.safe_load(path.read_text()) for path in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """Series that rules record."""
    return {rule["record"] for rule in rules() if "record" in rule}


def exposed() -> set[str]:
    """Every series that the fleet has of its own, as Prometheus calls it."""
    names = {f"ray_{name}" for name in (*gauges.HELP, *budget_gauges.HELP, *driftgauges.HELP)}
    for family in FAMILIES:
        match family.kind:
            case Kind.COUNTER:
                names.add(f"{family.name}_total")
            case Kind.GAUGE:
                names.add(family.name)
            case Kind.HISTOGRAM:
                names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    return names
