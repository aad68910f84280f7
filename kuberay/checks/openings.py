"""Which openings of NetworkPolicies nobody needs, or somebody who is chosen along with others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kuberay.checks.objects import Fault, Manifest, fits, place
from kuberay.checks.policies import ANY_PORT, Direction, End, Way, ends, peer_fits, port_fits

DIRECTIONS: tuple[tuple[Direction, str], ...] = (("ingress", "from"), ("egress", "to"))

EVERYWHERE = {"0.0.0.0/0", "::/0"}


@dataclass(frozen=True, slots=True)
class Opening:
    """One peer and one port of a rule."""

    direction: Direction

    peer: Mapping[str, Any] | None
    """None for everybody."""

    port: Mapping[str, Any] | None
    """None for every port."""

    @property
    def is_for_everybody(self) -> bool:
        """Whether it is for whoever has an address, or a namespace of whatever name."""
        if self.peer is None:
            return True
        if "ipBlock" in self.peer:
            return self.direction == "ingress" or self.peer["ipBlock"]["cidr"] in EVERYWHERE
        return "namespaceSelector" in self.peer and not self.labels

    @property
    def is_for_several_ports(self) -> bool:
        """Whether it names none of them, or a range."""
        port = self.port or {}
        return "port" not in port or port.get("endPort", port["port"]) != port["port"]

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the namespaces that it chooses."""
        found: Mapping[str, str] = (
            (self.peer or {}).get("namespaceSelector", {}).get("matchLabels", {})
        )
        return found

    def lets(self, way: Way) -> bool:
        """Whether it is what lets a way through."""
        _, other = ends(way, self.direction)
        if self.peer is None:
            chosen = not other.is_pod
        else:
            # The labels themselves: what an outsider needs is promised to one label.
            chosen = peer_fits(self.peer, other) and dict(other.namespace or {}) == self.labels
        return chosen and (self.port is None or port_fits(self.port, way))

    def __str__(self) -> str:
        port = "every port" if self.port is None else f"port {self.port.get('port')}"
        if self.port is not None and "endPort" in self.port:
            port += f" to {self.port['endPort']}"
        selector = (self.peer or {}).get("podSelector", {})
        chosen = self.labels or selector.get("matchLabels") or selector or self.peer
        who = dict(chosen) if chosen else "everyone"
        what = f"{who} in" if self.direction == "ingress" else f"out to {who}"
        return f"lets {what} at {port}"


def needless(policy: Manifest, ways: Sequence[Way], pods: Sequence[End]) -> Iterator[Fault]:
    """Compare each opening with the ways that somebody needs.

    Args:
        policy: Of the namespace.
        ways: All that are needed.
        pods: All that are there.
    """
    chosen = policy["spec"]["podSelector"]
    for opening in _openings(policy):
        used = [
            way
            for way in ways
            if opening.lets(way) and _is_own(ends(way, opening.direction)[0], chosen)
        ]
        where = place(policy)
        if opening.is_for_everybody and not used:
            who = "everyone in" if opening.direction == "ingress" else "somebody out to everyone"
            yield Fault(where, f"lets {who}: name whom it is for")
        elif opening.is_for_several_ports and ANY_PORT not in {way.port for way in used}:
            yield Fault(where, f"{opening}: name those it needs")
        elif not used and "ipBlock" not in (opening.peer or {}):
            yield Fault(where, f"{opening}, which it does not need")
        elif used:
            yield from _chosen_along(where, opening, used, [e for e in pods if _is_own(e, chosen)])
            others = [end for end in pods if opening.peer and peer_fits(opening.peer, end)]
            yield from _chosen_along(where, opening, used, others, is_own=False)


def _openings(policy: Manifest) -> Iterator[Opening]:
    for direction, side in DIRECTIONS:
        for rule in policy["spec"].get(direction, ()):
            for peer in rule.get(side) or [None]:
                for port in rule.get("ports") or [None]:
                    yield Opening(direction, peer, port)


def _is_own(end: End, selector: Mapping[str, Any]) -> bool:
    return end.namespace is None and end.is_pod and fits(selector, end.labels)


def _chosen_along(
    where: str, opening: Opening, used: Sequence[Way], found: Sequence[End], *, is_own: bool = True
) -> Iterator[Fault]:
    """Pods on one side that need none of what others need there."""
    side = 0 if is_own else 1
    needing = {ends(way, opening.direction)[side].where for way in used}
    for end in found:
        if end.where not in needing:
            yield Fault(where, f"{opening}: {end.where} does not need that")
