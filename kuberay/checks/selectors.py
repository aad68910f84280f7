"""Whether label selectors choose pods that exist, and those pods have the ports that are asked."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import Fault, Manifest, Pod, fits, of_kind, place, pods, pods_behind
from kuberay.checks.project import Project

REDIS_CLEANUP = {"ray.io/node-type": "redis-cleanup"}
UPGRADE_PROXY = {"gateway.networking.k8s.io/gateway-name": "fleet-gateway"}

MADE_BY_OTHERS: Sequence[Mapping[str, str]] = (REDIS_CLEANUP, UPGRADE_PROXY)
"""Labels of pods that stand in no manifest: KubeRay's, and those of its Gateway."""

PROBES = ("readinessProbe", "livenessProbe", "startupProbe")


def check_selectors(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Try every selector on every pod."""
    everyone = list(pods(objects))
    labels = [*(pod.labels for pod in everyone), *MADE_BY_OTHERS]
    for where, selector in _foreign_selectors(objects):
        if not any(fits(selector, each) for each in labels):
            yield Fault(where, f"selector {dict(selector)}: fits no pod")
    for pod in everyone:
        yield from _own_selectors(pod)
        yield from _ports_of_probes(pod)
    for service in of_kind(objects, "Service"):
        if service["spec"].get("publishNotReadyAddresses"):
            yield Fault(place(service), "publishNotReadyAddresses: clients would meet closed doors")
        yield from _target_ports(service, everyone)


def ports_of(service: Manifest) -> Sequence[Mapping[str, Any]]:
    """Entries of a Service."""
    return list(service["spec"].get("ports", ()))


def container_ports(pod: Pod) -> dict[str, int]:
    """Ports that a pod's containers declare, by name, and by number as text."""
    found: dict[str, int] = {}
    for container in pod.containers:
        for port in container.get("ports", ()):
            found[str(port["containerPort"])] = port["containerPort"]
            if "name" in port:
                found[port["name"]] = port["containerPort"]
    return found


def _foreign_selectors(objects: Sequence[Manifest]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Selectors of pods that stand elsewhere."""
    for each in of_kind(objects, "Service", "PodDisruptionBudget"):
        yield place(each), each["spec"]["selector"]
    for each in of_kind(objects, "NetworkPolicy"):
        yield place(each), each["spec"]["podSelector"]
        for rule in [*each["spec"].get("ingress", ()), *each["spec"].get("egress", ())]:
            for peer in [*rule.get("from", ()), *rule.get("to", ())]:
                if "namespaceSelector" not in peer and "podSelector" in peer:
                    yield place(each), peer["podSelector"]


def _own_selectors(pod: Pod) -> Iterator[Fault]:
    own = pod.owner["spec"].get("selector")
    if own is not None and not fits(own, pod.labels):
        yield Fault(pod.where, f"selector {dict(own)}: does not fit its own pods")
    for spread in pod.spec.get("topologySpreadConstraints", ()):
        if not fits(spread["labelSelector"], pod.labels):
            yield Fault(pod.where, "topologySpreadConstraints: does not fit its own pods")


def _target_ports(service: Manifest, everyone: Sequence[Pod]) -> Iterator[Fault]:
    behind = list(pods_behind(service, everyone))
    for port in ports_of(service):
        target = str(port.get("targetPort", port["port"]))
        for pod in behind:
            if target not in container_ports(pod):
                yield Fault(place(service), f"port {target!r}: {pod.where} has no such port")


def _ports_of_probes(pod: Pod) -> Iterator[Fault]:
    for container in pod.containers:
        names = {each.get("name") for each in container.get("ports", ())}
        for kind in PROBES:
            probe = container.get(kind, {})
            asked = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
            if isinstance(asked, str) and asked not in names:
                yield Fault(pod.where, f"{kind}: port {asked!r}: the container has none")
