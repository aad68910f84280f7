"""Whether a gateway holds its copy of an inline model, before that is measured."""

import re
import time
from pathlib import Path

from benchmarks.serving.running import StartError

WITHIN_S = 60.0
POLL_S = 0.2

SAYS = re.compile(r"inline: .* is in this process$", re.MULTILINE)


def wait_for_copy(ray_folder: Path) -> None:
    """Return once a gateway has said so in its log; until then, replicas answer in its place.

    Args:
        ray_folder: Where Ray's sessions are.

    Raises:
        StartError: None has in time.
    """
    deadline_s = time.monotonic() + WITHIN_S
    while not _says_so(ray_folder):
        if time.monotonic() > deadline_s:
            raise StartError(f"no gateway held a copy of the model within {WITHIN_S:g} s")
        time.sleep(POLL_S)


def _says_so(ray_folder: Path) -> bool:
    logs = ray_folder.glob("ray/session_*/logs/serve/*_Gateway_*.log")
    return any(SAYS.search(path.read_text(errors="replace")) for path in logs)
