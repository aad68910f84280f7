"""Environments of peers whose pins do not agree with ours, under `.venvs`."""

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.serving.running import REPOSITORY, StartError

FOLDER = REPOSITORY / ".venvs"


def ensure(name: str, lock: Path, console: Console) -> None:
    """Create the environment from its lock file, unless it is there and as old as the lock.

    Raises:
        StartError: pip could not install the lock file; its own last line says why.
    """
    stamp = FOLDER / name / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    console.print(f"creating .venvs/{name}, once")
    with console.status("pip") as status:
        subprocess.run([sys.executable, "-m", "venv", FOLDER / name], check=True)
        command = [str(python_of(name)), "-m", "pip", "install", "--disable-pip-version-check"]
        command += ["--progress-bar", "off", "-r", str(lock)]
        line = ""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as pip:
            for line in pip.stdout or ():
                if line.startswith(("Collecting", "Installing")):
                    status.update(line.strip()[:80])
        if pip.returncode != 0:
            raise StartError(f"pip could not install {lock.name}: {line.strip()}")
    stamp.touch()


def python_of(name: str) -> Path:
    """Interpreter of a peer's environment."""
    return FOLDER / name / "bin" / "python"
