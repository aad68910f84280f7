"""The manifests as `kubectl kustomize` renders them, once a process."""

import functools
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from kuberay.checks.objects import Manifest, load
from kuberay.checks.rendering import INSTALLATIONS, MANIFESTS, kubectl, rendered


@functools.cache
def installations() -> Mapping[str, Sequence[Manifest]]:
    """Objects by the installation's name."""
    found: dict[str, Sequence[Manifest]] = {}
    for each in INSTALLATIONS:
        folders = [folder(MANIFESTS / name) for name in each.folders]
        files = [load((MANIFESTS / name).read_text()) for name in each.files]
        found[each.name] = [*chain(*folders, *files)]
    return found


@functools.cache
def folder(path: Path) -> Sequence[Manifest]:
    """Objects of one kustomization."""
    return tuple(rendered(path, str(kubectl())))
