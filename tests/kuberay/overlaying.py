"""Overlays with other components than ours have."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from kuberay.checks.objects import Manifest
from kuberay.checks.rendering import MANIFESTS, rendered


def rendered_with(
    components: Sequence[str], overlay: str, folder: Path, program: str
) -> Sequence[Manifest]:
    """Render a copy of an overlay.

    Args:
        components: Names of those that it is to have.
        overlay: Its own name.
        folder: An empty one, for the copy.
        program: kubectl.
    """
    copy = folder / "kuberay"
    shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    path = copy / "overlays" / overlay / "kustomization.yaml"
    config = yaml.safe_load(path.read_text())
    config["components"] = [f"../../components/{name}" for name in components]
    path.write_text(yaml.safe_dump(config))
    return rendered(path.parent, program)
