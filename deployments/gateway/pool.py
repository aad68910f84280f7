"""Batches for versions that share replicas: which of them, and over whose connections.

The connections stand between a gateway and a pool's replicas once, for all of its models. A
version has a home among the replicas, which every gateway finds without asking the others
(rendezvous hashing), so it is loaded once and stays warm there; it goes where it was answered
before, and elsewhere when its home has more to do than a load would cost.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from deployments.errors import ModelNotReadyError
from deployments.gateway.direct import DirectTransport, Link
from deployments.gateway.transport import Landed, ReplicaGoneError, VersionTransport
from deployments.predictor.pool import Target
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch
from deployments.schema import parse_application_name
from deployments.traffic.table import Endpoint, Route

OWN_BATCHES = 2
"""Batches of one version that a replica has before another is asked: one works, one waits."""

MORE_BATCHES = 8
"""Batches of all versions by which a replica may be ahead of the idlest before that is asked."""

HASH_BYTES = 8


class Replica(Protocol):
    """One of a pool's replicas, such as `direct.Link`."""

    @property
    def replica(self) -> str:
        """Serve's id of it."""
        ...

    @property
    def in_flight(self) -> int:
        """Batches of all versions that this gateway has there."""
        ...


AnyReplica = TypeVar("AnyReplica", bound=Replica)


def home_order(application: str, replicas: Sequence[AnyReplica]) -> list[AnyReplica]:
    """Order replicas by how well they suit a version, the same at every gateway.

    A replica that comes or goes changes the place of no other (rendezvous hashing: D. Thaler,
    C. Ravishankar, IEEE/ACM Transactions on Networking 6 (1998) 1-14).
    """

    def rank(replica: AnyReplica) -> bytes:
        text = f"{replica.replica} {application}".encode()
        return hashlib.blake2b(text, digest_size=HASH_BYTES).digest()

    return sorted(replicas, key=rank)


def choose_replica(
    ordered: Sequence[AnyReplica], own: Mapping[str, int], warm: Collection[str]
) -> AnyReplica:
    """Pick the replica for a version's next batch.

    Args:
        ordered: The replicas that can be reached, at least one, home first.
        own: Batches of this version in flight, by replica.
        warm: Replicas that have answered for it.
    """
    known = [each for each in ordered if each.replica in warm]
    idlest = min(ordered, key=lambda each: (own.get(each.replica, 0), each.in_flight))
    for each in known or ordered[:1]:
        # A second load beside the first would come too late to help.
        is_free = not known or own.get(each.replica, 0) < OWN_BATCHES
        if is_free and each.in_flight < idlest.in_flight + MORE_BATCHES:
            return each
    return idlest


@dataclass(slots=True)
class PoolReplicas:
    """What the versions of one pool share at one gateway."""

    direct: DirectTransport

    handle: "TargetedTransport"
    """Takes what no connection can."""

    depths: dict[str, int] = field(default_factory=dict)
    """Requests that wait or are in flight, by version, of those with a batch in flight."""


class TargetedTransport(Protocol):
    """A transport that must be told which version is meant, such as `HandleTransport`."""

    async def predict(
        self, batch: Batch, depth: int, timeout_s: float, target: Target | None = None
    ) -> Prediction:
        """See `Transport.predict`."""
        ...


class Pools:
    """The pools that a gateway knows of. One event loop owns it."""

    def __init__(self, connect: Callable[[str], PoolReplicas]) -> None:
        """Begin without one.

        Args:
            connect: Makes what stands between this gateway and an application's replicas.
        """
        self._connect = connect
        self._pools: dict[str, PoolReplicas] = {}

    def update(self, endpoints: Mapping[str, tuple[Endpoint, ...]]) -> None:
        """Follow the table's `pools`, before its routes are followed."""
        for application in set(self._pools) - set(endpoints):
            self._pools.pop(application).direct.update(())
        for application, doors in endpoints.items():
            self.of(application).direct.update(doors)

    def of(self, application: str) -> PoolReplicas:
        """The replicas of one pool, connected or not."""
        pool = self._pools.get(application)
        if pool is None:
            pool = self._pools[application] = self._connect(application)
        return pool


@dataclass(frozen=True, slots=True)
class _Bound:
    """A transport that has been told the version."""

    transport: TargetedTransport
    target: Target

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        return await self.transport.predict(batch, depth, timeout_s, self.target)


class PooledTransport:
    """The way to one version in a pool."""

    own_copies = 0
    """See `VersionTransport.own_copies`."""

    def __init__(self, replicas: PoolReplicas, application: str, target: Target) -> None:
        self.replicas = replicas
        self.target = target
        self._application = application
        self._otherwise = _Bound(replicas.handle, target)
        self._own: Counter[str] = Counter()
        self._warm: set[str] = set()
        self._ready: list[Link] = []
        self._ordered: list[Link] = []

    @property
    def is_cheap(self) -> bool:
        """See `VersionTransport.is_cheap`."""
        return self.replicas.direct.is_direct

    def begin(
        self, batch: Batch, depth: int, timeout_s: float, landed: Landed
    ) -> Callable[[], object] | None:
        """See `VersionTransport.begin`."""
        link = self._choose()
        if link is None:
            return None
        replica = link.replica
        question = self.replicas.direct.question(
            batch, self._sent(replica, depth), timeout_s, self.target
        )

        def answered(ending: Prediction | BaseException) -> None:
            self._answered(replica, ending)
            landed(ending)

        return link.begin(question, answered)

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        link = self._choose()
        replica = link.replica if link is not None else ""
        ending: Prediction | BaseException = asyncio.CancelledError()
        try:
            ending = await self.replicas.direct.send(
                link, self._otherwise, batch, self._sent(replica, depth), timeout_s, self.target
            )
        except Exception as error:
            ending = error
            raise
        finally:
            self._answered(replica, ending)
        return ending

    def _choose(self) -> Link | None:
        """The replica for the next batch; None where none can be reached."""
        ready = self.replicas.direct.ready
        if ready != self._ready:
            self._ready, self._ordered = ready, home_order(self._application, ready)
            self._warm.intersection_update(self.replicas.direct.replicas)
        return choose_replica(self._ordered, self._own, self._warm) if ready else None

    def _sent(self, replica: str, depth: int) -> int:
        """Count a batch; returns how many requests wait for the pool's replicas."""
        depths = self.replicas.depths
        self._own[replica] += 1
        depths[self._application] = depth
        return sum(depths.values())

    def _answered(self, replica: str, ending: Prediction | BaseException) -> None:
        self._own[replica] -= 1
        if self._own[replica] <= 0:
            del self._own[replica]
        if not self._own:
            self.replicas.depths.pop(self._application, None)
        if isinstance(ending, Prediction):
            self._warm.add(replica)
        elif isinstance(ending, ModelNotReadyError | ReplicaGoneError):
            self._warm.discard(replica)


class PoolableTransport:
    """The way to a version where the table has it now: in a pool, or on replicas of its own."""

    def __init__(self, make_own: Callable[[], VersionTransport], pools: Pools) -> None:
        """Begin with neither.

        Args:
            make_own: Makes the way to replicas of its own; called when it has some.
            pools: Those of this gateway.
        """
        self._make_own = make_own
        self._pools = pools
        self._own: VersionTransport | None = None
        self._pooled: PooledTransport | None = None

    @property
    def is_cheap(self) -> bool:
        """See `VersionTransport.is_cheap`."""
        return self._way.is_cheap

    @property
    def own_copies(self) -> int:
        """See `VersionTransport.own_copies`."""
        return self._way.own_copies

    def begin(
        self, batch: Batch, depth: int, timeout_s: float, landed: Landed
    ) -> Callable[[], object] | None:
        """See `VersionTransport.begin`."""
        return self._way.begin(batch, depth, timeout_s, landed)

    def predict(
        self, batch: Batch, depth: int, timeout_s: float
    ) -> Coroutine[Any, Any, Prediction]:
        """See `Transport.predict`."""
        return self._way.predict(batch, depth, timeout_s)

    def update(self, route: Route | None) -> None:
        """See `VersionTransport.update`."""
        in_pool = route is not None and route.pool is not None
        if self._own is not None or not in_pool:
            self._way_of_its_own.update(None if in_pool else route)
        if route is None or route.pool is None:
            self._pooled = None
            return
        replicas, target = self._pools.of(route.pool), _target(route)
        known = self._pooled
        if known is None or known.replicas is not replicas or known.target != target:
            self._pooled = PooledTransport(replicas, route.application, target)

    @property
    def _way(self) -> "PooledTransport | VersionTransport":
        return self._pooled if self._pooled is not None else self._way_of_its_own

    @property
    def _way_of_its_own(self) -> VersionTransport:
        if self._own is None:
            self._own = self._make_own()
        return self._own


def _target(route: Route) -> Target:
    model, version = parse_application_name(route.application) or ("", route.version)
    return model, version, route.runtime, route.size_bytes
