"""Where a run comes from: whose it is, and of which code."""

import getpass
import os
import subprocess
from pathlib import Path

COMMIT_VARIABLE = "RAYFLEET_GIT_COMMIT"
"""What `commit_with_changes` said where a job was submitted: its copy of the files has no
history."""


def git_commit() -> str | None:
    """Return the commit of the working directory, or of where this job was submitted from.

    Returns:
        None outside of a repository.
    """
    given = os.environ.get(COMMIT_VARIABLE)
    return given.removesuffix("+") if given else _git("rev-parse", "HEAD", folder=None)


def commit_with_changes(folder: Path | None = None) -> str | None:
    """Return the commit of a folder, with a plus where tracked files have changed.

    Args:
        folder: None is the working directory, or where this job was submitted from.

    Returns:
        None outside of a repository.
    """
    if folder is None and (given := os.environ.get(COMMIT_VARIABLE)):
        return given
    commit = _git("rev-parse", "HEAD", folder=folder)
    if commit is None:
        return None
    changes = _git("status", "--porcelain", "--untracked-files=no", folder=folder)
    return f"{commit}+" if changes else commit


def _git(*arguments: str, folder: Path | None) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def user_name() -> str:
    """Return who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return os.environ.get("HOSTNAME", "unknown")  # a container's user may have no name
