"""What NetworkPolicies let through, from pods of their own namespace and from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    ports: Mapping[str, int] = field(default_factory=dict)
    """That the pod declares, by name; policies may name them so."""


@dataclass(frozen=True, slots=True)
class Way:
    """A connection that somebody needs."""

    source: End
    target: End
    port: int
    protocol: str = "TCP"


ANY_PORT = 20_000
"""One of those that Ray's processes choose themselves."""


def allowed(policies: Sequence[Manifest], direction: Direction, way: Way) -> bool:
    """Whether the policies of one end let it out (`egress`), or in at the other (`ingress`)."""
    own, peer = ends(way, direction)
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


def ends(way: Way, direction: Direction) -> tuple[End, End]:
    """The one whose policies are asked, and the other one."""
    return (way.target, way.source) if direction == "ingress" else (way.source, way.target)


def port_fits(entry: Mapping[str, Any], way: Way) -> bool:
    """Whether an entry of a rule's `ports` is the way's port."""
    if entry.get("protocol", "TCP") != way.protocol:
        return False
    port = entry.get("port")
    if isinstance(port, str):
        return way.target.ports.get(port) == way.port
    return port is None or port <= way.port <= entry.get("endPort", port)


def peer_fits(selectors: Mapping[str, Any], peer: End) -> bool:
    """Whether an entry of a rule's `from` or `to` chooses an end."""
    if "namespaceSelector" in selectors:
        in_namespace = peer.namespace is not None and fits(
            selectors["namespaceSelector"], peer.namespace
        )
    else:
        in_namespace = peer.namespace is None and "podSelector" in selectors
    return peer.is_pod and in_namespace and fits(selectors.get("podSelector"), peer.labels)


def _has_port(rule: Mapping[str, Any], way: Way) -> bool:
    ports = rule.get("ports")
    return not ports or any(port_fits(each, way) for each in ports)


def _has_peer(rule: Mapping[str, Any], direction: Direction, peer: End) -> bool:
    peers = rule.get("from" if direction == "ingress" else "to")
    return not peers or any(peer_fits(each, peer) for each in peers)
