"""Copies of manifests with one thing changed, and what a check must say of them."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from kuberay.checks.__main__ import Check
from kuberay.checks.objects import Manifest, name_of
from kuberay.checks.project import Project

GONE = object()
"""In the place of a value: leave the key out."""

SERVICE = ("RayService", "fleet")
CLUSTER = "spec.rayClusterConfig"
HEAD = f"{CLUSTER}.headGroupSpec"
HEAD_CONTAINER = f"{HEAD}.template.spec.containers.0"
CPU = f"{CLUSTER}.workerGroupSpecs.0"
CPU_CONTAINER = f"{CPU}.template.spec.containers.0"
"""The fleet, and paths in it."""

CONTAINER = "spec.template.spec.containers.0"
"""The first one of a Deployment or StatefulSet."""

Change = tuple[str, str, str, Any]
"""Kind and name of an object, a dotted path in it, the value there."""


def breaks(kind: str, name: str, path: str, value: Any, fault: str, *, why: str) -> Any:
    """One change, a part of the fault that it is, and what to call the case."""
    return pytest.param((kind, name, path, value), fault, id=why)


def broken_copies(cases: Iterable[Any]) -> pytest.MarkDecorator:
    """Run a test for each change and fault."""
    return pytest.mark.parametrize(("change", "fault"), cases)


def assert_caught(check: Check, broken: Sequence[Manifest], fault: str, project: Project) -> None:
    """Assert that the check finds the fault."""
    faults = list(map(str, check(broken, project)))

    assert [each for each in faults if fault in each], faults


def changed(
    objects: Sequence[Manifest], kind: str, name: str, path: str, value: Any
) -> list[Manifest]:
    """All objects, one of them a copy with another value at a dotted path."""
    copies: list[Any] = list(objects)
    (place,) = [
        index for index, each in enumerate(copies) if each["kind"] == kind and name_of(each) == name
    ]
    found = copies[place] = copy.deepcopy(copies[place])
    steps: list[Any] = [int(step) if step.isdigit() else step for step in path.split(".")]
    *way, last = steps
    target: Any = found
    for step in way:
        target = target[step] if isinstance(target, list) else target.setdefault(step, {})
    if value is GONE:
        del target[last]
    elif isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value
    return copies
