"""What `kubectl kustomize` makes of the folders, and which of them belong together."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kuberay.checks.objects import Manifest, load
from kuberay.checks.project import REPOSITORY

MANIFESTS = REPOSITORY / "kuberay"


@dataclass(frozen=True, slots=True)
class Installation:
    """Folders that are applied to one namespace, and files beside them."""

    name: str
    folders: tuple[str, ...]
    files: tuple[str, ...] = ()


INSTALLATIONS = (
    Installation(
        "development",
        ("overlays/development", "jobs/sweep", "jobs/sweep-on-workbench", "monitoring"),
        ("examples/ingress.yaml", "examples/grpc.yaml"),
    ),
    Installation(
        "production",
        ("overlays/production", "jobs/first-models", "monitoring"),
        ("examples/gateway.yaml", "examples/grpc.yaml"),
    ),
    Installation("incremental", ("overlays/production-incremental",)),
)
"""Each is checked as a whole: what one folder names may stand in another."""


def kubectl() -> str | None:
    """The program, from this environment or from the PATH; None where there is none."""
    own = Path(sys.executable).with_name("kubectl")
    return str(own) if own.exists() else shutil.which("kubectl")


def rendered(folder: Path, program: str) -> list[Manifest]:
    """Objects of a kustomization.

    Raises:
        RuntimeError: kubectl refuses it.
    """
    run = subprocess.run(
        [program, "kustomize", folder], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise RuntimeError(f"{folder.relative_to(REPOSITORY)}: {run.stderr.strip()}")
    return load(run.stdout)


def objects_of(installation: Installation, program: str) -> list[Manifest]:
    """Everything that an installation consists of."""
    found = [each for name in installation.folders for each in rendered(MANIFESTS / name, program)]
    for name in installation.files:
        found += load((MANIFESTS / name).read_text())
    return found
