"""What a dashboard asks of Prometheus."""

from collections.abc import Iterator, Mapping

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel
from grafana_foundation_sdk.models.prometheus import Dataquery


def queries(dashboard: Dashboard) -> list[str]:
    """Every expression of its panels and annotations, as written."""
    return [*_of_panels(dashboard), *_of_annotations(dashboard)]


def filled(query: str, variables: Mapping[str, str]) -> str:
    """An expression with values in place of the dashboard's variables."""
    for name, value in variables.items():
        query = query.replace(f"${name}", value)
    return query


def _of_panels(dashboard: Dashboard) -> Iterator[str]:
    for panel in dashboard.panels or []:
        if isinstance(panel, Panel):
            for target in panel.targets or []:
                if isinstance(target, Dataquery):
                    yield target.expr


def _of_annotations(dashboard: Dashboard) -> Iterator[str]:
    container = dashboard.annotations
    for annotation in (container.list_val if container is not None else None) or []:
        if annotation.expr is not None:
            yield annotation.expr
