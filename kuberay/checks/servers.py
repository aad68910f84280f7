"""Whether the stores' servers answer, keep what they have, and ask who comes.

Those of `kuberay/base` and `kuberay/components/stores`, by their program; managed ones have no
pods here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from kuberay.checks.addresses import addresses, words
from kuberay.checks.objects import (
    EVERY_ADDRESS,
    TMP,
    Fault,
    Manifest,
    Pod,
    environment,
    fits,
    mounts,
    name_of,
    names,
    of_kind,
    place,
    pods,
    secret_of,
)
from kuberay.checks.project import Project
from kuberay.checks.selectors import container_ports

MLFLOW_OPTIONS = {"host", "port", "workers", "artifacts-destination", "allowed-hosts"}
MLFLOW_VARIABLES = {
    "MLFLOW_BACKEND_STORE_URI": None,
    "MLFLOW_S3_ENDPOINT_URL": None,
    "AWS_DEFAULT_REGION": None,
    "AWS_ACCESS_KEY_ID": "access-key",
    "AWS_SECRET_ACCESS_KEY": "secret-key",
}
"""What MLflow and its S3 client read, and the key of the Secret where there is one."""

BY_TCP = "--host=127.0.0.1"
"""While PostgreSQL's image makes databases, its server listens at a socket in the file system."""

SCRIPTS = "/docker-entrypoint-initdb.d"
"""Where PostgreSQL's image looks for scripts when it is started first."""


def check_servers(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Look at every pod that is a store's, by the first container's program."""
    for pod in pods(objects):
        look = SERVERS.get(_program(pod))
        if look is not None:
            yield from look(pod, objects)
            if pod.owner["spec"].get("replicas", 1) < 1:
                yield Fault(pod.where, "replicas: there should be one")
    for each in of_kind(objects, "StatefulSet"):
        service = each["spec"].get("serviceName")
        if service not in names(objects, "Service"):
            yield Fault(place(each), f"serviceName {service!r}: there is no such Service")


def _program(pod: Pod) -> str:
    container = pod.containers[0]
    image = str(container["image"]).rpartition("/")[2].partition(":")[0]
    return str(container["command"][0]) if "command" in container else image


def _mlflow(pod: Pod, objects: Sequence[Manifest]) -> Iterator[Fault]:
    container = pod.containers[0]
    if list(container["command"]) != ["mlflow", "server"]:
        yield Fault(pod.where, f"command {container['command']}: should be mlflow server")
    options = dict(_options(container.get("args", ())))
    for name in sorted(options.keys() ^ MLFLOW_OPTIONS):
        what = "is missing" if name in MLFLOW_OPTIONS else "is none that is needed here"
        yield Fault(pod.where, f"--{name} {what}")
    if options.get("host") != EVERY_ADDRESS:
        yield Fault(pod.where, f"--host={options.get('host')}: nobody else would reach it")
    yield from _listens(pod, options.get("port", "5000"))
    yield from _variables(pod, MLFLOW_VARIABLES)
    yield from _tmp(pod)
    yield from _allowed_hosts(pod, options.get("allowed-hosts", "").split(","), objects)
    used = {each.path for each in addresses(pod) if each.scheme == "postgresql"}
    for other in pods(objects):
        for each in addresses(other):
            if each.name == "RAYFLEET_STORE" and each.path in used:
                yield Fault(pod.where, f"database {each.path!r} is the fleet store's, too")


def _allowed_hosts(pod: Pod, hosts: Sequence[str], objects: Sequence[Manifest]) -> Iterator[Fault]:
    for name in _called(pod, objects):
        if not {name, f"{name}:*"} <= set(hosts):
            what = f"--allowed-hosts: MLflow refuses who calls it {name}: add {name},{name}:*"
            yield Fault(pod.where, what)


def _called(pod: Pod, objects: Sequence[Manifest]) -> Iterator[str]:
    """By which clients in this namespace and in others call a pod's Service."""
    for service in of_kind(objects, "Service"):
        if fits(service["spec"]["selector"], pod.labels):
            name, space = name_of(service), service["metadata"].get("namespace", "default")
            yield from (name, f"{name}.{space}", f"{name}.{space}.svc")


def _redis(pod: Pod, _: Sequence[Manifest]) -> Iterator[Fault]:
    args = list(map(str, pod.containers[0].get("args", ())))
    said = {name.removeprefix("--"): value for name, value in pairwise(args)}
    for name, wanted in (("appendonly", "yes"), ("maxmemory-policy", "noeviction")):
        if said.get(name) != wanted:
            yield Fault(
                pod.where, f"--{name} {said.get(name)}: should be {wanted}, or state is lost"
            )
    password = said.get("requirepass", "")
    if not _is_secret(pod, password):
        yield Fault(pod.where, f"--requirepass {password or 'is missing'}: should be a Secret's")
    yield from _listens(pod, said.get("port", "6379"))
    yield from _kept(pod, "--dir", said.get("dir", "/"))


def _s3(pod: Pod, _: Sequence[Manifest]) -> Iterator[Fault]:
    args = list(map(str, pod.containers[0].get("args", ())))
    options = dict(_options(args))
    if args[:2] != ["serve", "s3"]:
        yield Fault(pod.where, f"args {args[:2]}: should be serve s3")
    host, _colon, port = options.get("addr", "127.0.0.1:8080").rpartition(":")
    if host:
        yield Fault(pod.where, f"--addr={host}:{port}: nobody else would reach it")
    yield from _listens(pod, port)
    yield from _kept(pod, "serve s3", args[2])
    for word in (word for name, word in words(pod) if name == "args" and word.startswith("/")):
        if not f"{word}/".startswith(f"{args[2].rstrip('/')}/"):
            yield Fault(pod.where, f"{word}: is not in {args[2]}, which is served")
    keys = [_key_of(pod, word) for word in options.get("auth-key", "").split(",")]
    if keys != ["access-key", "secret-key"]:
        yield Fault(pod.where, f"--auth-key is {keys}: should be access-key, then secret-key")


def _postgres(pod: Pod, objects: Sequence[Manifest]) -> Iterator[Fault]:
    said = environment(pod.containers[0])
    yield from _kept(pod, "PGDATA", str(said.get("PGDATA", "/var/lib/postgresql/data")))
    yield from _listens(pod, str(said.get("PGPORT", "5432")))
    mount = mounts(pod.containers[0]).get(SCRIPTS, {})
    scripts = pod.volumes.get(mount.get("name", ""), {}).get("configMap", {}).get("name")
    if scripts is None:
        yield Fault(pod.where, f"{SCRIPTS} has no ConfigMap: nothing makes the other databases")
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = pod.containers[0].get(kind, {}).get("exec", {}).get("command", [None])
        if asked[0] != "pg_isready":
            yield Fault(pod.where, f"{kind}: should ask pg_isready, not {asked[0]!r}")
        elif BY_TCP not in asked:
            what = f"{kind}: without {BY_TCP} it hears the server that makes the databases"
            yield Fault(pod.where, what)
    security = pod.spec["securityContext"]
    if security.get("fsGroup") != security.get("runAsGroup"):
        yield Fault(pod.where, "fsGroup should be runAsGroup, or it cannot write to its volume")


SERVERS: Mapping[str, Callable[[Pod, Sequence[Manifest]], Iterator[Fault]]] = {
    "mlflow": _mlflow,
    "redis-server": _redis,
    "rclone": _s3,
    "postgres": _postgres,
}


def _options(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    for arg in map(str, args):
        name, is_option, value = arg.partition("=")
        if is_option and name.startswith("--"):
            yield name.removeprefix("--"), value


def _listens(pod: Pod, port: str) -> Iterator[Fault]:
    if port not in container_ports(pod):
        known = ", ".join(sorted({str(each) for each in container_ports(pod).values()}))
        yield Fault(pod.where, f"listens at port {port}, and declares {known}")


def _variables(pod: Pod, wanted: Mapping[str, str | None]) -> Iterator[Fault]:
    said = environment(pod.containers[0])
    for name, key in wanted.items():
        if name not in said:
            yield Fault(pod.where, f"{name} is not set")
        elif key is not None and _key_of(pod, f"$({name})") != key:
            yield Fault(pod.where, f"{name}: should be the key {key!r} of its Secret")


def _key_of(pod: Pod, word: str) -> str | None:
    """Key of the Secret that `$(VARIABLE)` stands for."""
    name = word.removeprefix("$(").removesuffix(")")
    found = secret_of(environment(pod.containers[0]).get(name))
    return None if found is None else found[1]


def _is_secret(pod: Pod, word: str) -> bool:
    return word.startswith("$(") and _key_of(pod, word) is not None


def _kept(pod: Pod, what: str, path: str) -> Iterator[Fault]:
    """Data outlives the pod only on a claim's volume."""
    mounted = mounts(pod.containers[0])
    folders = [folder for folder, mount in mounted.items() if mount["name"] in pod.claims]
    if not any(f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in folders):
        yield Fault(pod.where, f"{what} {path}: is on none of the volumes that stay, {folders}")


def _tmp(pod: Pod) -> Iterator[Fault]:
    if TMP not in mounts(pod.containers[0]):
        yield Fault(pod.where, f"{TMP} needs a volume: the rest is read-only")
