"""What the serve config inside a RayService says."""

from collections.abc import Mapping
from typing import Any

from kuberay.checks.objects import Manifest, load

DEADLINE_S = 30.0
"""Of a request, unless the fleet is told otherwise (`FleetSpec.request_deadline_s`)."""


def serve_config(service: Manifest) -> dict[str, Any]:
    """The config that a RayService embeds."""
    (parsed,) = load(service["spec"]["serveConfigV2"])
    return dict(parsed)


def fleet_args(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a serve config tells the fleet."""
    return dict(config["applications"][0].get("args", {}))


def deployment(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Serve's options of one of the fleet's deployments."""
    found = [e for e in config["applications"][0].get("deployments", ()) if e["name"] == name]
    return dict(found[0]) if found else {}


def deadline_s(config: Mapping[str, Any]) -> float:
    """How long a request may take, seconds."""
    return float(fleet_args(config).get("request_deadline_s", DEADLINE_S))
