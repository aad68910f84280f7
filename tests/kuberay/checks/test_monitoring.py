"""Prometheus' operator scrapes and alerts as the plain config does."""

from collections.abc import Sequence

from kuberay.checks.monitoring import check_monitoring
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import Change, assert_caught, breaks, broken_copies, changed

BROKEN = [
    breaks("ScrapeConfig", "fleet", "spec.staticConfigs.0.targets.0", "fleet-serve-svc.rayfleet.svc:8000", "there is no such Service and port", why="port"),
    breaks("ScrapeConfig", "fleet", "spec.staticConfigs.0.targets.0", "fleet.rayfleet.svc:8080", "there is no such Service and port", why="service"),
    breaks("ScrapeConfig", "fleet", "spec.jobName", "fleet", "should be one of prometheus.yaml's: ray, rayfleet", why="job"),
    breaks("PodMonitor", "ray", "spec.podMetricsEndpoints.0.relabelings", [], "job None", why="job-of-a-monitor"),
    breaks("PodMonitor", "ray", "spec.podMetricsEndpoints.0.port", "metric", "headgroup has no such port", why="port-of-a-monitor"),
    breaks("PodMonitor", "ray", "spec.selector.matchLabels", {"a": "b"}, "fits no pod", why="selector-of-a-monitor"),
    breaks("ScrapeConfig", "fleet", "spec.metricsPath", "/metric", "metricsPath should be /metrics", why="path"),
    breaks("ScrapeConfig", "fleet", "spec.scrapeInterval", "10m", "should be 15s at most", why="rare-scrapes"),
    breaks("PodMonitor", "ray", "spec.selector.matchLabels", {"ray.io/node-type": "worker"}, "does not fit", why="heads-left-out"),
    breaks("PrometheusRule", "fleet", "kind", "Rule", "there is none of configs/monitoring/rules/fleet.yaml", why="rules-left-out"),
    breaks("PrometheusRule", "fleet", "spec.groups.0.rules.0.for", "2m", "is not configs/monitoring/rules/fleet.yaml", why="rule"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_monitoring, changed(development, *change), fault, project)
