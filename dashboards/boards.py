"""Every board by the name of its file."""

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.fleet import fleet
from dashboards.model import model
from dashboards.resources import resources
from dashboards.rollouts import rollouts
from dashboards.sweeps import sweeps

BOARDS: Mapping[str, Callable[[], Dashboard]] = {
    "fleet": fleet,
    "model": model,
    "rollouts": rollouts,
    "sweeps": sweeps,
    "resources": resources,
}
