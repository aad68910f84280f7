"""What NetworkPolicies let through, from pods of their own namespace and from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kuberay.checks.objects import Manifest, fits

Direction = Literal["ingress", "egress"]


@dataclass(frozen=True, slots=True)
class End:
    """One side of a connection."""

    where: str
    labels: Mapping[str, str]
    """Of the pod."""

    namespace: Mapping[str, str] | None = None
    """Labels of its namespace; None for that of the policies."""

    is_pod: bool = True
    """The API server is none."""


@dataclass(frozen=True, slots=True)
class Way:
    """A connection that somebody needs."""

    source: End
    target: End
    port: int
    protocol: str = "TCP"


def allowed(policies: Sequence[Manifest], direction: Direction, way: Way) -> bool:
    """Whether the policies of one end let it out (`egress`), or in at the other (`ingress`)."""
    own, peer = (way.target, way.source) if direction == "ingress" else (way.source, way.target)
    if own.namespace is not None or not own.is_pod:
        return True  # a matter of other policies than ours
    mine = [
        policy["spec"]
        for policy in policies
        if fits(policy["spec"]["podSelector"], own.labels)
        and direction.capitalize() in policy["spec"].get("policyTypes", ("Ingress",))
    ]
    return not mine or any(
        _has_port(rule, way) and _has_peer(rule, direction, peer)
        for spec in mine
        for rule in spec.get(direction, ())
    )


def openings(policy: Manifest) -> Iterator[tuple[Mapping[str, str] | None, int | None]]:
    """Labels of the namespaces that a policy lets in, and at which port; None stands for all."""
    for rule in policy["spec"].get("ingress", ()):
        ports = [each.get("port") for each in rule.get("ports", ())] or [None]
        foreign: list[Mapping[str, str] | None] = [
            each["namespaceSelector"].get("matchLabels") or None
            for each in rule.get("from", ())
            if "namespaceSelector" in each
        ]
        if not rule.get("from") or any("ipBlock" in each for each in rule["from"]):
            foreign.append(None)
        yield from ((labels, port) for labels in foreign for port in ports)


def _has_port(rule: Mapping[str, Any], way: Way) -> bool:
    ports = rule.get("ports")
    return ports is None or any(
        each.get("port") in {None, way.port} and each.get("protocol", "TCP") == way.protocol
        for each in ports
    )


def _has_peer(rule: Mapping[str, Any], direction: Direction, peer: End) -> bool:
    peers = rule.get("from" if direction == "ingress" else "to")
    return not peers or (peer.is_pod and any(_is_peer(each, peer) for each in peers))


def _is_peer(selectors: Mapping[str, Any], peer: End) -> bool:
    if "namespaceSelector" in selectors:
        in_namespace = peer.namespace is not None and fits(
            selectors["namespaceSelector"], peer.namespace
        )
    else:
        in_namespace = peer.namespace is None and "podSelector" in selectors
    return in_namespace and fits(selectors.get("podSelector"), peer.labels)
