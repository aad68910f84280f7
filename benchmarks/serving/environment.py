"""Environments of programs whose pins do not agree with ours, under `.venvs`."""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from benchmarks.serving.running import REPOSITORY, StartError

FOLDER = REPOSITORY / ".venvs"

LOCKS: Mapping[str, Path] = {
    "bentoml": Path(__file__).with_name("requirements-bentoml.lock"),
    "clients": REPOSITORY / "tests" / "clients" / "requirements.lock",
    "mlserver": Path(__file__).with_name("requirements-mlserver.lock"),
}
"""Lock file of each environment, by its name; the first line of each says who makes it."""

SHARING = ("bentoml", "mlserver")
"""Environments that find what their lock does not name among our own packages.

PyTorch and TensorFlow are there once then, and of one version for all that are compared.
"""


def ensure(name: str, console: Console) -> None:
    """Create the environment from its lock file, unless it is there and as old as the lock.

    Raises:
        StartError: pip could not install the lock file; its own last line says why.
    """
    lock = LOCKS[name]
    stamp = FOLDER / name / ".installed"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        console.print(f"creating .venvs/{name}, once")
        _install(name, lock, console)
        stamp.touch()
    if name in SHARING:
        _share(name)


def _install(name: str, lock: Path, console: Console) -> None:
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


def _share(name: str) -> None:
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = FOLDER / name / "lib" / minor / "site-packages"
    (packages / "rayfleet.pth").write_text(sysconfig.get_path("purelib") + "\n")


def python_of(name: str) -> Path:
    """Interpreter of an environment."""
    return FOLDER / name / "bin" / "python"
