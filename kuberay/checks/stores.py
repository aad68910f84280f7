"""Whether the stores that pods are told of are those that are there.

Host, port, user, database, bucket, and the Secret that both sides read. Stores outside the
namespace have an address with a domain, and are not looked at.
"""

import re
from collections.abc import Iterator, Sequence

from kuberay.checks.addresses import GCS_STORE, Address, addresses, words
from kuberay.checks.objects import (
    Fault,
    Manifest,
    Pod,
    environment,
    name_of,
    of_kind,
    pods,
    pods_behind,
    ray_cluster,
    secret_of,
)
from kuberay.checks.project import Project
from kuberay.checks.selectors import ports_of

DATABASE = re.compile(r"CREATE DATABASE (\w+)", re.IGNORECASE)
"""A statement of the scripts that PostgreSQL's image runs when it is started first."""

BUCKET = re.compile(r"s3://([^/\s]+)")

S3_ENDPOINT = "MLFLOW_S3_ENDPOINT_URL"
S3_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def check_stores(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Follow every address to the pods behind it, and compare what both sides say."""
    everyone = list(pods(objects))
    services = {name_of(each): each for each in of_kind(objects, "Service")}
    for pod in everyone:
        for address in addresses(pod):
            where = f"{pod.where}, {address.name}"
            service = services.get(address.host)
            if service is None:
                yield Fault(where, f"host {address.host!r}: there is no such Service")
                continue
            if address.port not in {each["port"] for each in ports_of(service)}:
                yield Fault(where, f"Service {address.host!r} has no port {address.port}")
            for server in pods_behind(service, everyone):
                yield from _compare(where, pod, address, server, objects)


def _compare(
    where: str, pod: Pod, address: Address, server: Pod, objects: Sequence[Manifest]
) -> Iterator[Fault]:
    if address.scheme == "postgresql":
        yield from _database(where, address, server, objects)
        yield from _secrets(where, _secrets_in(pod, address), server)
    elif address.name == GCS_STORE:
        options = (ray_cluster(pod.owner) or {})["gcsFaultToleranceOptions"]
        given = secret_of(options.get("redisPassword", {}))
        if given is None:
            yield Fault(where, f"no redisPassword, and {server.where} asks for one")
        else:
            yield from _secrets(where, {given}, server)
    elif address.name == S3_ENDPOINT:
        keys = {name: ref for name, ref in _references(pod) if name in S3_KEYS}
        yield from _secrets(where, set(keys.values()), server)
        yield from _buckets(where, pod, server)


def _database(
    where: str, address: Address, server: Pod, objects: Sequence[Manifest]
) -> Iterator[Fault]:
    said = dict(words(server))
    mounted = {each.get("configMap", {}).get("name") for each in server.volumes.values()}
    scripts = [
        text
        for each in of_kind(objects, "ConfigMap")
        if name_of(each) in mounted
        for text in each.get("data", {}).values()
    ]
    made = {said.get("POSTGRES_DB"), *(name for text in scripts for name in DATABASE.findall(text))}
    if address.path not in made:
        known = sorted(filter(None, made))
        yield Fault(where, f"database {address.path!r}: nothing makes it, only {known}")
    if address.user != said.get("POSTGRES_USER"):
        yield Fault(where, f"user {address.user!r}: should be {said.get('POSTGRES_USER')!r}")


def _buckets(where: str, pod: Pod, server: Pod) -> Iterator[Fault]:
    made = {value.rpartition("/")[2] for _, value in words(server) if value.startswith("/")}
    for name, value in words(pod):
        for bucket in BUCKET.findall(value):
            if bucket not in made:
                what = f"{name}: bucket {bucket!r}: {server.where} makes none of this name"
                yield Fault(where, what)


def _secrets(where: str, given: set[tuple[str, str]], server: Pod) -> Iterator[Fault]:
    """A password must come from where the server has it from."""
    wanted = {reference for _, reference in _references(server)}
    for name, key in sorted(given - wanted):
        known = ", ".join(f"{key!r} of Secret {name!r}" for name, key in sorted(wanted))
        yield Fault(where, f"reads {key!r} of Secret {name!r}, {server.where} reads {known}")


def _secrets_in(pod: Pod, address: Address) -> set[tuple[str, str]]:
    """Secrets whose variables the address holds."""
    texts = [value for name, value in words(pod) if name == address.name]
    held = {name for text in texts for name in re.findall(r"\$\((\w+)\)", text)}
    return {reference for name, reference in _references(pod) if name in held}


def _references(pod: Pod) -> Iterator[tuple[str, tuple[str, str]]]:
    for container in pod.all_containers:
        for name, value in environment(container).items():
            found = secret_of(value)
            if found is not None:
                yield name, found
