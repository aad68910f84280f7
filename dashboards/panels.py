"""Panels as all boards have them: a title, a unit, a width, and queries of Prometheus."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Which Prometheus: the board's own variable says."""

WIDTH, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
HEIGHT, LOW = 8, 4

Query = tuple[str, str]
"""An expression, and what its series are called."""


def lines(
    title: str,
    *queries: Query,
    unit: str,
    width: int = HALF,
    about: str = "",
    top: float | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Values over time, from 0 on.

    Args:
        title: What is shown.
        queries: Each with the form of its legend.
        unit: In Grafana's words.
        width: Of 24 columns.
        about: What the reader must know beyond the title.
        top: Upper end of the axis; None fits the values.
        stacked: Whether series are put on each other.
    """
    panel = timeseries.Panel().title(title).unit(unit).span(width).height(HEIGHT).min(0)
    panel = panel.datasource(PROMETHEUS).description(about).fill_opacity(30 if stacked else 5)
    panel = panel.legend(
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.LIST)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
    ).tooltip(common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI))
    if top is not None:
        panel = panel.max(top)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(words.StackingMode.NORMAL))
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(_target(letter, query))
    return panel


def number(
    title: str,
    query: str,
    *,
    unit: str,
    bounds: Sequence[tuple[float, str]] = (),
    width: int = SIXTH,
    about: str = "",
) -> stat.Panel:
    """One value of now, colored by where it lies.

    Args:
        title: As above, as the next.
        query: Its first series is shown.
        unit: As above.
        bounds: From which value on it has which color; below the first it is green.
        width: As above, as the next.
        about: As above.
    """
    steps = [Threshold(None, "green"), *(Threshold(value, color) for value, color in bounds)]
    return (
        stat.Panel()
        .title(title)
        .unit(unit)
        .span(width)
        .height(LOW)
        .datasource(PROMETHEUS)
        .description(about)
        .color_mode(words.BigValueColorMode.VALUE)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_target("A", (query, "")).instant())
    )


def rows(title: str, query: str, *, width: int = WIDTH, about: str = "") -> table.Panel:
    """One row for each series of now."""
    return (
        table.Panel()
        .show_header(True)
        .title(title)
        .span(width)
        .height(HEIGHT)
        .datasource(PROMETHEUS)
        .description(about)
        .with_target(_target("A", (query, "")).instant().format(PromQueryFormat.TABLE))
    )


def board(uid: str, title: str, about: str) -> dashboard.Dashboard:
    """An empty board that looks at the last hour, with alerts as annotations."""
    source = dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    link = dashboard.DashboardLink("Rayfleet").type(DashboardLinkType.DASHBOARDS).tags(["rayfleet"])
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["rayfleet"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .link(link.as_dropdown(False).include_vars(True).keep_time(True))
        .with_variable(source)
        .annotation(note("Alerts", 'ALERTS{alertname=~"Rayfleet.+",alertstate="firing"}', "red"))
    )


def note(name: str, query: str, color: str) -> dashboard.AnnotationQuery:
    """Marks in all panels where a query has series."""
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(color)
        .expr(query)
    )


def choice(name: str, label: str, query: str, *, several: bool) -> dashboard.QueryVariable:
    """A variable whose values a query of labels gives."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    return variable.all_value(".*") if several else variable


def _target(letter: str, query: Query) -> prometheus.Dataquery:
    expression, legend = query
    return prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
