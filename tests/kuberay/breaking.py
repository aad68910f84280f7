"""Copies of manifests with one thing changed."""

import copy
from collections.abc import Sequence
from typing import Any

from kuberay.checks.objects import Manifest, name_of

GONE = object()
"""In the place of a value: leave the key out."""


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
