"""Where a run comes from: whose it is, and of which code."""

import getpass
import os
import subprocess


def git_commit() -> str | None:
    """Return the commit of the working directory; None outside of a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
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
