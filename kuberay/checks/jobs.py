"""Whether sweeps as jobs name files that exist, run when they should, and leave no cluster."""

import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import (
    Fault,
    Manifest,
    Pod,
    Role,
    environment,
    of_kind,
    place,
    pods,
    secret_of,
)
from kuberay.checks.project import REPOSITORY, Project

CONFIG = re.compile(r"\bconfigs/[\w./-]+")
MODULE = re.compile(r"python -m ([\w.]+)")

CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
"""Bounds of a schedule's five fields: minute, hour, day, month, day of the week."""


def check_jobs(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Look at every RayJob and RayCronJob, and at their submitters."""
    for job in of_kind(objects, "RayJob"):
        yield from _job(place(job), job["spec"])
    for cron in of_kind(objects, "RayCronJob"):
        yield from _job(place(cron), cron["spec"]["jobTemplate"])
        yield from _schedule(place(cron), cron["spec"])
    for pod in pods(objects):
        if pod.role is Role.SUBMITTER:
            yield from _submitter(pod)


def _job(where: str, spec: Mapping[str, Any]) -> Iterator[Fault]:
    entrypoint = str(spec["entrypoint"])
    for path in CONFIG.findall(entrypoint):
        if not (REPOSITORY / path).is_file():
            yield Fault(where, f"entrypoint: there is no {path}")
    for module in MODULE.findall(entrypoint):
        path = REPOSITORY / module.replace(".", "/")
        if not path.is_dir() and not path.with_suffix(".py").is_file():
            yield Fault(where, f"entrypoint: there is no module {module}")
    if "rayClusterSpec" in spec and spec.get("shutdownAfterJobFinishes") is not True:
        yield Fault(where, "shutdownAfterJobFinishes: its cluster would stay, and be paid for")
    if spec.get("suspend"):
        yield Fault(where, "suspend: it would never run")


def _schedule(where: str, spec: Mapping[str, Any]) -> Iterator[Fault]:
    fields = str(spec["schedule"]).split()
    is_one = len(fields) == len(CRON) and all(
        _is_in(field, *bounds) for field, bounds in zip(fields, CRON, strict=True)
    )
    if not is_one:
        yield Fault(where, f"schedule {spec['schedule']!r}: should be five fields of cron")
    zone = spec.get("timeZone", "Etc/UTC")
    if zone not in zoneinfo.available_timezones():
        yield Fault(where, f"timeZone {zone!r}: there is no such zone")
    if "--restart" not in spec["jobTemplate"]["entrypoint"].split():
        yield Fault(where, "entrypoint: without --restart it would show the first night's result")


def _is_in(field: str, low: int, high: int) -> bool:
    numbers = [int(each) for each in re.findall(r"\d+", field.partition("/")[0])]
    form = re.fullmatch(r"(\*|\d+(-\d+)?(,\d+(-\d+)?)*)(/[1-9]\d*)?", field)
    return form is not None and all(low <= each <= high for each in numbers)


def _submitter(pod: Pod) -> Iterator[Fault]:
    said = environment(pod.containers[0])
    if said.get("RAY_AUTH_MODE") != "token":
        what = f"RAY_AUTH_MODE {said.get('RAY_AUTH_MODE')!r}: should be token"
        yield Fault(pod.where, f"{what}, as the cluster's is")
    found = secret_of(said.get("RAY_AUTH_TOKEN"))
    if found is None or found[0] != "ray-auth-token":
        yield Fault(pod.where, f"RAY_AUTH_TOKEN: {found}: should be of Secret ray-auth-token")
