"""Where embedded state lives: one absolute root, resolved once and handed on.

Ray jobs and Serve replicas run in other working directories than the command that
started them, where a relative `sqlite:///` would be another database. So every path
and address is made absolute here, and `environment` is what a child process is given.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tuning.errors import ConfigError

HOME_VARIABLE = "RAYFLEET_HOME"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
ARTIFACTS_VARIABLE = "RAYFLEET_ARTIFACTS"
STORE_VARIABLE = "RAYFLEET_STORE"

UNSPEAKABLE = "?%"
"""Characters that mean something else in a database's address than in a path."""


@dataclass(frozen=True, slots=True)
class Home:
    """The addresses of everything that outlives a process."""

    root: Path
    """Absolute folder of the embedded defaults."""

    tracking_uri: str
    """MLflow tracking store."""

    registry_uri: str
    """MLflow model registry; the tracking store unless set apart."""

    artifacts_uri: str | None
    """Artifact root of new experiments; None leaves it to the MLflow server."""

    store_url: str
    """SQLAlchemy address of the fleet store."""

    @property
    def sweeps(self) -> Path:
        """Ray storage path: the state by which a sweep resumes."""
        return self.root / "sweeps"

    @property
    def tables(self) -> Path:
        """Node-local copies of the last routing table."""
        return self.root / "tables"

    def environment(self) -> dict[str, str]:
        """Variables by which a process elsewhere resolves to this same home."""
        variables = {
            HOME_VARIABLE: str(self.root),
            TRACKING_VARIABLE: self.tracking_uri,
            REGISTRY_VARIABLE: self.registry_uri,
            STORE_VARIABLE: self.store_url,
        }
        if self.artifacts_uri is not None:
            variables[ARTIFACTS_VARIABLE] = self.artifacts_uri
        return variables


def resolve_home(*, create: bool = True) -> Home:
    """Read the environment once.

    Args:
        create: Whether to make the root if it is not there.

    Raises:
        ConfigError: The root cannot be created, or no database could be named in it.
    """
    given = os.environ.get(HOME_VARIABLE)
    root = Path(given) if given else platformdirs.user_data_path("rayfleet")
    root = root.expanduser().resolve()
    bad = [character for character in UNSPEAKABLE if character in str(root)]
    if bad:
        raise ConfigError(
            f"{HOME_VARIABLE}: '{root}': contains {bad[0]!r}, allowed: a path without ? and %"
        )
    if create:
        _create(root)

    embedded_uri = f"sqlite:///{root / 'mlflow.db'}"
    tracking_uri = os.environ.get(TRACKING_VARIABLE) or embedded_uri
    artifacts_uri = os.environ.get(ARTIFACTS_VARIABLE)
    if artifacts_uri is None and not tracking_uri.startswith(("http://", "https://")):
        # A database has no artifact root of its own: MLflow would write beside
        # whatever folder the process happens to run in.
        artifacts_uri = (root / "artifacts").as_uri()
    return Home(
        root=root,
        tracking_uri=tracking_uri,
        registry_uri=os.environ.get(REGISTRY_VARIABLE) or tracking_uri,
        artifacts_uri=artifacts_uri,
        store_url=os.environ.get(STORE_VARIABLE) or f"sqlite:///{root / 'fleet.db'}",
    )


def _create(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{HOME_VARIABLE}: '{root}': cannot be created: {error.strerror}"
        ) from None
