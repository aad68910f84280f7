"""The fleet store's address, checked before anything starts; no database is opened or made."""

import os
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tuning.home import STORE_VARIABLE
from tuning.probes import without_password

BACKENDS = ("postgresql", "sqlite")


def store_url_fault(configured: str | None) -> str | None:
    """Say why a fleet could not keep its state at the address that it is given.

    Args:
        configured: `store_url` of the fleet's `args`; None takes the environment's, and
            there is nothing wrong with the embedded default.

    Returns:
        One line that begins with the name of the setting; None when all is well.
    """
    name = STORE_VARIABLE if configured is None else "args.store_url"
    url = os.environ.get(STORE_VARIABLE) if configured is None else configured
    if not url:
        return None
    shown = f"{name}: {without_password(url)!r}"
    allowed = f"{shown}, allowed: sqlite:////FOLDER/FILE or postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in BACKENDS:
            return allowed
        create_engine(parsed).dispose()
    except (ArgumentError, ValueError):
        return allowed
    except ImportError as error:
        return f"{shown}: {error}; install rayfleet[postgresql]"
    reason = sqlite_fault(url)
    return f"{shown}: {reason}" if reason is not None else None


def sqlite_fault(url: str) -> str | None:
    """Say why no process of a fleet could keep a file at an address; None where it is none.

    Args:
        url: Any address; only those of SQLite are looked at.
    """
    if not url.startswith("sqlite"):
        return None
    try:
        file = Path(make_url(url).database or "")
    except (ArgumentError, ValueError):
        return "no address of a file, allowed: sqlite:////FOLDER/FILE"
    # Processes of a fleet run in other folders than the command that started them.
    return _file_fault(file) if file.is_absolute() else "should be an absolute path"


def _file_fault(file: Path) -> str | None:
    if not file.parent.is_dir():
        return f"there is no folder {str(file.parent)!r}"
    if file.is_dir():
        return "is a folder"
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        return "cannot be written"
    return None
