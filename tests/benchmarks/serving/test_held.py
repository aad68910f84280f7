import threading
from pathlib import Path

import pytest

from benchmarks.serving import held
from benchmarks.serving.held import wait_for_copy
from benchmarks.serving.running import StartError

LOADING = "INFO 2026-12-01 04:05:47,513 fleet_Controller sfd6d2aw -- iris: v1 goes inline"
HELD = "INFO 2026-12-01 04:06:01,532 fleet_Gateway u9dfmo9z -- inline: iris--v1 is in this process"


def log_of_a_gateway(folder: Path) -> Path:
    path = folder / "ray" / "session_1" / "logs" / "serve" / "replica_fleet_Gateway_u9dfmo9z.log"
    path.parent.mkdir(parents=True)
    return path


def test_a_copy_is_waited_for(tmp_path: Path) -> None:
    log = log_of_a_gateway(tmp_path)
    log.write_text(f"{LOADING}\n")
    waiting = threading.Thread(target=wait_for_copy, args=(tmp_path,))
    waiting.start()
    waiting.join(timeout=2 * held.POLL_S)
    assert waiting.is_alive()

    log.write_text(f"{LOADING}\n{HELD}\n")
    waiting.join(timeout=10)

    assert not waiting.is_alive()


def test_a_copy_that_never_comes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "WITHIN_S", 0.0)

    with pytest.raises(StartError, match="no gateway held a copy"):
        wait_for_copy(tmp_path)
