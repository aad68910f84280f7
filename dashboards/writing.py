"""A dashboard as the text of its file, and back."""

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()  # else panels and queries are not known when they are read


def encoded(dashboard: Dashboard) -> str:
    """The text of a dashboard's file."""
    return str(JSONEncoder(sort_keys=True, indent=2).encode(dashboard)) + "\n"


def decoded(text: str) -> Dashboard:
    """The dashboard that a file holds.

    Raises:
        ValueError: The file says what Grafana's types do not know.
    """
    dashboard: Dashboard = Dashboard.from_json(json.loads(text))
    if encoded(dashboard) != text:
        raise ValueError("holds keys that Grafana's types do not know, or was edited by hand")
    return dashboard
