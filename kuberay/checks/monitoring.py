"""Whether the Prometheus operator would scrape what is there, and knows the tested rules."""

from collections.abc import Iterator, Sequence

from deployments.analysisspec import interval_s
from kuberay.checks.addresses import CLUSTER_DOMAIN
from kuberay.checks.objects import Fault, Manifest, fits, name_of, of_kind, place, pods
from kuberay.checks.project import Project
from kuberay.checks.routes import services
from kuberay.checks.selectors import container_ports

METRICS = "/metrics"

MOST_INTERVAL_S = 15
"""Between two scrapes; the shortest windows of the rules are minutes."""


def check_monitoring(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Follow every target, and compare jobs and rules with the files in configs/monitoring."""
    for rule in of_kind(objects, "PrometheusRule"):
        if project.rules.get(name_of(rule)) != rule["spec"]:
            source = f"configs/monitoring/rules/{name_of(rule)}.yaml"
            yield Fault(place(rule), f"is not {source}: run python -m kuberay.rules")
    if any(of_kind(objects, "ScrapeConfig", "PodMonitor")):
        known = {name_of(rule) for rule in of_kind(objects, "PrometheusRule")}
        for name in sorted(project.rules.keys() - known):
            yield Fault("PrometheusRule", f"there is none of configs/monitoring/rules/{name}.yaml")
    for scrape in of_kind(objects, "ScrapeConfig"):
        if scrape["spec"].get("metricsPath", METRICS) != METRICS:
            yield Fault(place(scrape), f"metricsPath should be {METRICS}")
        yield from _interval(scrape, scrape["spec"]["scrapeInterval"])
        yield from _job(scrape, scrape["spec"]["jobName"], project)
        yield from _targets(scrape, objects)
    for monitor in of_kind(objects, "PodMonitor"):
        yield from _endpoints(monitor, objects, project)


def _job(manifest: Manifest, name: object, project: Project) -> Iterator[Fault]:
    """Rules and dashboards ask for jobs by name."""
    if name not in project.jobs:
        known = ", ".join(sorted(project.jobs))
        yield Fault(place(manifest), f"job {name!r}: should be one of prometheus.yaml's: {known}")


def _interval(manifest: Manifest, text: str) -> Iterator[Fault]:
    seconds = interval_s(text)
    if seconds is None or seconds > MOST_INTERVAL_S:
        yield Fault(place(manifest), f"interval {text}: should be {MOST_INTERVAL_S}s at most")


def _targets(scrape: Manifest, objects: Sequence[Manifest]) -> Iterator[Fault]:
    there = services(objects)
    for static in scrape["spec"]["staticConfigs"]:
        for target in static["targets"]:
            host, _, port = target.partition(":")
            ports = there.get(CLUSTER_DOMAIN.sub("", host), {})
            if port not in map(str, ports.values()):
                yield Fault(place(scrape), f"{target}: there is no such Service and port")


def _endpoints(monitor: Manifest, objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    chosen = [pod for pod in pods(objects) if fits(monitor["spec"]["selector"], pod.labels)]
    left_out = [pod.where for pod in pods(objects) if pod.is_ray_node]
    left_out = [where for where in left_out if where not in {pod.where for pod in chosen}]
    if chosen and left_out:
        yield Fault(place(monitor), f"selector: does not fit {left_out[0]}")
    if not chosen:
        yield Fault(place(monitor), "selector: fits no pod")
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        jobs = [e["replacement"] for e in endpoint["relabelings"] if e["targetLabel"] == "job"]
        yield from _interval(monitor, endpoint["interval"])
        yield from _job(monitor, jobs[0] if jobs else None, project)
        for pod in chosen:
            if endpoint["port"] not in container_ports(pod):
                what = f"port {endpoint['port']!r}: {pod.where} has no such port"
                yield Fault(place(monitor), what)
