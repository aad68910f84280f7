"""The part of the Prometheus operator's kinds that the manifests use.

Source:
    https://prometheus-operator.dev/docs/api-reference/api/, kinds PodMonitor and PrometheusRule
    (v1) and ScrapeConfig (v1alpha1).
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from kuberay.checks.partial import Duration, Object, Part

V1 = "monitoring.coreos.com/v1"
V1ALPHA1 = "monitoring.coreos.com/v1alpha1"


class _StaticConfig(Part):
    targets: Annotated[list[str], Field(min_length=1)]


class _ScrapeSpec(Part):
    jobName: str  # noqa: N815, the API's names
    scrapeInterval: Duration  # noqa: N815
    metricsPath: str | None = None  # noqa: N815
    staticConfigs: list[_StaticConfig]  # noqa: N815


class _Selector(Part):
    matchLabels: dict[str, str]  # noqa: N815


class _Relabeling(Part):
    targetLabel: str  # noqa: N815
    replacement: str


class _Endpoint(Part):
    port: str
    interval: Duration
    relabelings: Sequence[_Relabeling] = ()


class _MonitorSpec(Part):
    selector: _Selector
    podMetricsEndpoints: Annotated[list[_Endpoint], Field(min_length=1)]  # noqa: N815


class _Rule(Part):
    # What rules say, promtool checks in the files that these come from.
    record: str | None = None
    alert: str | None = None
    expr: str
    for_: Annotated[Duration | None, Field(alias="for")] = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Group(Part):
    name: str
    interval: Duration | None = None
    rules: list[_Rule]


class _RuleSpec(Part):
    groups: Annotated[list[_Group], Field(min_length=1)]


class _ScrapeConfig(Object):
    spec: _ScrapeSpec


class _PodMonitor(Object):
    spec: _MonitorSpec


class _PrometheusRule(Object):
    spec: _RuleSpec


KINDS: dict[tuple[str, str], type[Object]] = {
    (V1, "PodMonitor"): _PodMonitor,
    (V1, "PrometheusRule"): _PrometheusRule,
    (V1ALPHA1, "ScrapeConfig"): _ScrapeConfig,
}
