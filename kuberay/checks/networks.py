"""Whether the NetworkPolicies let through what is needed, and no more than they say."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kuberay.checks.objects import Fault, Manifest, Pod, Role, fits, of_kind, pods, ray_cluster
from kuberay.checks.project import Project
from kuberay.checks.selectors import ports_of

ADDRESS = re.compile(r"(?:@|://|^)([a-z][a-z0-9-]*):(\d+)")
"""A Service and its port, as variables and arguments name them."""

EVERYTHING = "default-deny"


@dataclass(frozen=True, slots=True)
class Way:
    """A connection that somebody needs."""

    source: Pod
    target: Pod
    port: int


def check_networks(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Follow every address that a container is given, and Ray's own ways."""
    policies = list(of_kind(objects, "NetworkPolicy"))
    if not any(_denies_everything(policy) for policy in policies):
        yield Fault("NetworkPolicy", "none denies what no other allows")
    for way in [*_to_services(objects), *_among_ray(objects)]:
        what = f"cannot reach {way.target.where} at port {way.port}"
        if not _allowed(policies, "egress", way.source, way.target, way.port):
            yield Fault(way.source.where, f"{what}: no policy lets it out")
        if not _allowed(policies, "ingress", way.target, way.source, way.port):
            yield Fault(way.source.where, f"{what}: no policy lets it in")


def _denies_everything(policy: Manifest) -> bool:
    spec = policy["spec"]
    return (
        not spec["podSelector"]
        and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _to_services(objects: Sequence[Manifest]) -> Iterator[Way]:
    everyone = list(pods(objects))
    known = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
    for pod in everyone:
        for name, port in _addresses(pod):
            service = known.get(name)
            if service is None:
                continue
            entries = [each for each in ports_of(service) if each["port"] == port]
            for target in everyone:
                if entries and fits(service["spec"]["selector"], target.labels):
                    yield Way(pod, target, port)


def _addresses(pod: Pod) -> Iterator[tuple[str, int]]:
    words: list[str] = []
    for container in pod.all_containers:
        words += [str(each.get("value", "")) for each in container.get("env", ())]
        words += [str(each).partition("=")[2] for each in container.get("args", ())]
    if pod.role is Role.HEAD:
        cluster = ray_cluster(pod.owner) or {}
        words.append(cluster.get("gcsFaultToleranceOptions", {}).get("redisAddress", ""))
    for word in words:
        for name, port in ADDRESS.findall(word):
            yield name, int(port)


def _among_ray(objects: Sequence[Manifest]) -> Iterator[Way]:
    """Nodes of one cluster, and the submitter of its job."""
    for manifest in objects:
        mine = list(pods([manifest]))
        nodes = [pod for pod in mine if pod.role is not Role.NONE]
        heads = [pod for pod in nodes if pod.role is Role.HEAD]
        for source in nodes:
            for target in nodes:
                yield Way(source, target, 6379 if target.role is Role.HEAD else 20_000)
        for submitter in (pod for pod in mine if pod.where.endswith("submitter")):
            for head in heads:
                yield Way(submitter, head, 8265)


def _allowed(policies: Sequence[Manifest], direction: str, pod: Pod, peer: Pod, port: int) -> bool:
    """Whether the policies of a pod let it speak with a peer of the same namespace."""
    kind = direction.capitalize()
    mine = [
        policy["spec"]
        for policy in policies
        if fits(policy["spec"]["podSelector"], pod.labels)
        and kind in policy["spec"].get("policyTypes", ("Ingress",))
    ]
    if not mine:
        return True
    side = "from" if direction == "ingress" else "to"
    return any(
        _rule_fits(rule, side, peer, port) for spec in mine for rule in spec.get(direction, ())
    )


def _rule_fits(rule: Mapping[str, Any], side: str, peer: Pod, port: int) -> bool:
    ports = rule.get("ports")
    if ports is not None and port not in {each.get("port") for each in ports}:
        return False
    peers = rule.get(side)
    return peers is None or any(
        "namespaceSelector" not in each and fits(each.get("podSelector"), peer.labels)
        for each in peers
    )
