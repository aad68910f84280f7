"""The manifests as `kubectl kustomize` renders them, once a process."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from kuberay.checks.objects import Manifest
from kuberay.checks.rendering import INSTALLATIONS, kubectl, objects_of, rendered


@functools.cache
def installations() -> Mapping[str, Sequence[Manifest]]:
    """Objects by the installation's name."""
    return {each.name: tuple(objects_of(each, str(kubectl()))) for each in INSTALLATIONS}


@functools.cache
def folder(path: Path) -> Sequence[Manifest]:
    """Objects of one kustomization."""
    return tuple(rendered(path, str(kubectl())))
