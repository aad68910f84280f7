"""What processes of one node share without Ray: a folder of this user."""

import os
import stat
import tempfile
from pathlib import Path


def node_folder() -> Path:
    """The folder of this user on this node, made if it is not there.

    Raises:
        OSError: It cannot be made, or is somebody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"rayfleet-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # In a folder that all may write to, somebody else may have made it first.
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder} is not a folder of this user")
    return folder
