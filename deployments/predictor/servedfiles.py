"""The files of a pool's versions on this node: fetched once, and removed once nobody hosts them."""

import shutil
import tempfile
from collections.abc import Callable, Container
from pathlib import Path

from deployments.schema import application_name

Fetch = Callable[[str, str], str]
"""Copies what an address names into a folder; gives the copy's."""


class VersionFiles:
    """Copies of our own: without a folder of theirs, a local registry would hand out its own."""

    def __init__(self, fetch: Fetch) -> None:
        """Begin without files.

        Args:
            fetch: MLflow's; may take long and raise anything.
        """
        self._fetch = fetch
        # Removed with the process, too.
        self._folder = tempfile.TemporaryDirectory(prefix="rayfleet-pool-")
        self._known: dict[tuple[str, str], tuple[Path, str]] = {}
        self._unwanted: set[tuple[str, str]] = set()

    def of(self, model: str, version: str) -> str:
        """Folder with the files of a version: the registry is asked for each but once."""
        _, known = self._known.get((model, version), (None, ""))
        if not known or not Path(known).is_dir():
            own = Path(tempfile.mkdtemp(dir=self._folder.name))
            known = self._fetch(f"models:/{model}/{version}", str(own))
            self._known[model, version] = own, known
        return known

    def keep_only(self, applications: Container[str]) -> None:
        """Remove the files of versions that are hosted no longer.

        Not at the first time: what the controller said may be older than the table by which a
        gateway has just asked for a version.

        Args:
            applications: Of what is hosted.
        """
        unwanted = {key for key in list(self._known) if application_name(*key) not in applications}
        for key in unwanted & self._unwanted:
            own, _ = self._known.pop(key)
            shutil.rmtree(own, ignore_errors=True)
        self._unwanted = unwanted
