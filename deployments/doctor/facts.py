"""What the checks look at: values, collected before any of them runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Door(StrEnum):
    """Who has a port."""

    FREE = "free"
    FLEET = "fleet"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that the config asks for."""

    name: str
    """Its key in the config."""

    address: str
    door: Door


@dataclass(frozen=True, slots=True)
class Folder:
    """A place for files."""

    path: str
    writable: bool
    free_bytes: int
    is_file: bool = False
    """Whether something else stands in its place."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """What the fleet cannot be changed without."""

    address: str
    """Without its password."""

    error: str | None = None
    """Why it could not be reached; None when it was."""

    absent: bool = False
    """Whether it is a file of RAYFLEET_HOME that is made when it is used first."""

    asked: bool = True
    """Whether there is a way to ask one of its kind."""


@dataclass(frozen=True, slots=True)
class Version:
    """A hosted version, as the repository index has it."""

    model: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunningFleet:
    """What a fleet says of itself."""

    ready: bool
    versions: tuple[Version, ...] = ()

    dependencies: Mapping[str, bool] = field(default_factory=dict)
    """Whether its controller reaches each; empty while no controller answers."""

    gateways: int = 1
    """Those that report."""

    gateways_wanted: int | None = None

    config_refusal: tuple[str, ...] = ()
    """Why the config deployed last is not in force and an older one is; empty when it is."""


@dataclass(frozen=True, slots=True)
class Ray:
    """How Ray is to be reached, and who may."""

    address: str
    """`local` for a Ray of the fleet's own."""

    error: str | None = None
    """Why nothing answers at the address."""

    mode: str | None = None
    """RAY_AUTH_MODE; None where it is not set, and Ray 2.60 makes a token by itself."""

    has_token: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """All of them; the defaults are those of a sound machine without a fleet."""

    python: tuple[int, int] = (3, 11)

    unmet: Mapping[str, str | None] = field(default_factory=dict)
    """Installed versions of packages that are not what is required, by the requirement."""

    config: str | None = None
    """The fleet config that was looked at."""

    config_faults: tuple[str, ...] = ()

    config_away: bool = False
    """Whether what it names did not answer, so that its models could not be looked up."""

    ports: tuple[Port, ...] = ()
    home: Folder = Folder("/home", writable=True, free_bytes=10**12)
    temporary: Folder = Folder("/tmp", writable=True, free_bytes=10**12)  # noqa: S108, an example
    shared_memory_bytes: int = 10**11
    available_bytes: int = 10**11
    open_files: int = 1_000_000
    registry: Dependency = Dependency("sqlite:////home/mlflow.db")
    store: Dependency = Dependency("sqlite:////home/fleet.db")
    fleet: RunningFleet | None = None
    gpus_wanted: float = 0.0
    """Of all replicas that the config starts with."""

    gpus: int = 0
    gpu_error: str | None = None
    ray: Ray = Ray("local")
    haproxy_installed: bool = True
    haproxy_error: str | None = None
    """Why its binary does not run."""
