"""The routing table: the one value that the gateways act on.

It travels from the controller to every gateway as JSON and is kept in a file and in the
fleet store, so that predictions go on while the controller is away.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from deployments.protocols.tensors import Signature


class Track(StrEnum):
    """A version's role in traffic."""

    STABLE = "stable"
    CANARY = "canary"
    SHADOW = "shadow"

    PREVIOUS = "previous"
    """Was stable before, and is kept warm in case that it must be again."""

    ARM_1 = "arm-1"
    """The first version of an A/B test that is compared with stable; and so on."""

    ARM_2 = "arm-2"
    ARM_3 = "arm-3"
    ARM_4 = "arm-4"
    ARM_5 = "arm-5"
    ARM_6 = "arm-6"
    ARM_7 = "arm-7"
    ARM_8 = "arm-8"


class RouteState(StrEnum):
    """How far a version has come, in the words of the repository index."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class TransportKind(StrEnum):
    """How batches reach the replicas of a version."""

    HANDLE = "handle"
    """Serve's own deployment handle."""

    DIRECT = "direct"
    """A connection of our own to each replica, and Serve's handle where there is none."""

    INLINE = "inline"
    """A copy in the gateway's process, and `direct` where it is absent or busy."""


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one replica takes batches without Serve."""

    replica: str
    """Serve's id of it."""

    node: str
    """Ray's id of its node; on it, the Unix socket is the shorter way."""

    path: str
    host: str
    port: int
    key: str
    """What a gateway must know, hexadecimal; made by the replica, known to this fleet alone."""

    actor: str = ""
    """Ray's id of it, by which errors of Serve's handle name the one that died."""


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One hosted version of a model.

    What has its default is not written, so that an earlier release, which refuses fields that
    it does not know, reads every table that has no need of them.
    """

    version: str
    track: Track

    weight: int
    """Percent of the model's requests; 0 unless the state is READY."""

    application: str
    """Names the version; the Serve application with its replicas where it is in no pool."""

    state: RouteState

    replicas: int
    """Running replicas, for the number of batches in flight; 0 while scaled to zero."""

    signature: Signature
    platform: str

    reason: str = ""
    """Why the version is not READY."""

    runtime: str = ""
    """What runs the model, in a replica or in a gateway."""

    transport: TransportKind = TransportKind.HANDLE

    transport_reason: str = ""
    """Why it is that one."""

    endpoints: tuple[Endpoint, ...] = ()
    """Replicas that take batches directly; empty where all go by Serve's handle."""

    pool: str | None = None
    """Serve application that holds it among others, see `RoutingTable.pools`."""

    size_bytes: int = 0
    """Of the model's files; 0 where the registry does not say."""

    mirror: int = 0
    """Percent of the stable version's requests that are sent to this one, too, once READY."""

    start: int | None = None
    """Percent at which its keys begin, see `split`; None: where those of the one before end."""

    @property
    def host(self) -> str:
        """Serve application that holds the replicas."""
        return self.application if self.pool is None else self.pool


class Batching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How requests are joined before they go to a replica; see `schema.ModelSpec`."""

    max_batch_size: int | None
    batch_wait_timeout_s: float | None
    max_concurrent_batches: int | None
    max_queued_requests: int
    latency_target_s: float | None = None


class Mirroring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How mirrored answers are compared with stable's; see `mirrorspec.MirrorSpec`."""

    tolerance: float = 0.0
    samples: int = 0


class Remembering(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which answers are remembered for feedback; see `feedbackspec.FeedbackSpec`."""

    sample: float
    output: str | None = None


class ModelRoutes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hosted versions of one model; shadows and canaries first, the stable version last."""

    routes: tuple[Route, ...]
    batching: Batching
    deadline_s: float

    mirroring: Mirroring = Mirroring()

    feedback: Remembering | None = None
    """None remembers none."""

    @property
    def stable(self) -> Route | None:
        """The version that answers by default; None while there is none."""
        return next((route for route in self.routes if route.track is Track.STABLE), None)

    @property
    def ready(self) -> bool:
        """Whether a request without a version in its URL would find one."""
        return any(route.weight > 0 for route in self.routes)

    def route(self, version: str) -> Route | None:
        """The route of one version; None when it is not hosted."""
        return next((route for route in self.routes if route.version == version), None)


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All models of a fleet at one revision."""

    revision: int
    """Rises with every change; a gateway acknowledges the one that it has applied."""

    models: Mapping[str, ModelRoutes]

    settled: bool = False
    """Whether every model was ready once, or has a recorded load failure."""

    pools: Mapping[str, tuple[Endpoint, ...]] = {}
    """Replicas of each pool by its application: here, not in the routes of all its models."""


EMPTY = RoutingTable(revision=0, models={})


def encode_table(table: RoutingTable) -> bytes:
    """Write a table as JSON."""
    return msgspec.json.encode(table)


def decode_table(body: bytes) -> RoutingTable:
    """Read a table.

    Raises:
        msgspec.DecodeError: The bytes are not a table that this release understands.
    """
    return msgspec.json.decode(body, type=RoutingTable)


class _AnyTable(msgspec.Struct):
    revision: int


def decode_revision(body: bytes) -> int:
    """Read the revision alone, which every release writes; 0 if the bytes are no table."""
    try:
        return msgspec.json.decode(body, type=_AnyTable).revision
    except msgspec.DecodeError:
        return 0
