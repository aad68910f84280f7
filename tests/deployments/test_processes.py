"""Nothing that we started outlives us."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deployments import processes
from deployments.processes import HeldError, ProcessTree, end_tree, hold, tree

pytestmark = pytest.mark.ray  # starts interpreters

PATIENCE_S = 20.0

POLITE = "import sys, time; print('up', flush=True); time.sleep(60)"

DEAF = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(60)
"""

STUBBORN = """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(60)
"""

PARENT = f"""
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", {textwrap.dedent(STUBBORN)!r}])
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def command(script: str) -> list[str]:
    return [sys.executable, "-S", "-c", textwrap.dedent(script)]


def until(condition: Callable[[], bool]) -> None:
    """Wait for another process to get somewhere."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; one whose parent died unreaped is a zombie, which runs no more."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def started(script: str, output: Path, n_up: int = 1) -> ProcessTree:
    """A tree in which so many processes have come up."""
    with output.open("wb") as file:
        child = ProcessTree(command(script), {}, file)
    until(lambda: output.read_text().count("up") == n_up)
    return child


@pytest.mark.parametrize(
    ("script", "n_up", "grace_s", "kill_after_s", "statuses"),
    [
        # Python ends itself by the signal, or with 1 or 130 after its KeyboardInterrupt.
        pytest.param(POLITE, 1, PATIENCE_S, 0.1, {-signal.SIGINT, 1, 130}, id="obeys-ctrl-c"),
        pytest.param(DEAF, 1, 0.1, PATIENCE_S, {-signal.SIGTERM}, id="ignores-ctrl-c"),
        pytest.param(STUBBORN, 1, 0.1, 0.1, {-signal.SIGKILL}, id="ignores-all-but-kill"),
        pytest.param(
            PARENT, 2, PATIENCE_S, 0.1, {-signal.SIGINT, 1, 130}, id="leaves-a-stubborn-child"
        ),
    ],
)
def test_a_tree_is_ended_with_all_its_members(
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    n_up: int,
    grace_s: float,
    kill_after_s: float,
    statuses: set[int],
) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_S", kill_after_s)
    child = started(script, output, n_up)
    members = tree(child.pid)
    assert len(members) == n_up

    child.end(grace_s)

    until(lambda: all(gone(member) for member in members))
    assert child.poll() in statuses


def test_a_tree_that_is_not_our_child_is_ended_too(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_S", 0.1)
    child = started(PARENT, output, 2)
    members = tree(child.pid)

    end_tree(child.pid, grace_s=1.0)

    child.wait(PATIENCE_S)
    until(lambda: all(gone(member) for member in members))


def test_leaving_the_block_ends_the_child(output: Path) -> None:
    child = started(POLITE, output)

    with child:
        assert child.poll() is None

    assert child.poll() is not None


def test_ending_what_has_ended_is_nothing() -> None:
    child = ProcessTree(command("pass"), {})
    child.wait(PATIENCE_S)

    child.end(grace_s=0.1)

    assert (child.poll(), tree(child.pid)) == (0, [])


def test_a_helper_started_during_the_shutdown_is_found(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started(PARENT, output, 2)
    members = tree(child.pid)
    looks = iter([members[:1]])  # at first there is only the root
    monkeypatch.setattr(processes, "tree", lambda pid: next(looks, None) or tree(pid))
    monkeypatch.setattr(processes, "KILL_AFTER_S", 0.1)
    members[0].suspend()  # it does not obey, so its helper still has a parent to be found by

    child.end(grace_s=0.1)

    until(lambda: all(gone(member) for member in members))


def test_a_background_job_s_child_still_gets_ctrl_c(output: Path) -> None:
    """A shell starts `command &` with SIGINT ignored, which children would inherit."""
    script = f"""
        import signal, sys
        from deployments.processes import ProcessTree
        with ProcessTree([sys.executable, "-S", "-c", {POLITE!r}], {{}}) as child:
            sys.stdin.readline()
            child.end(grace_s=20.0)
            print("ended", child.poll(), flush=True)
    """

    with output.open("wb") as file:
        job = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
        )
    until(lambda: "up" in output.read_text())
    job.communicate(b"\n", timeout=PATIENCE_S)

    assert output.read_text().split()[-2:] in (["ended", "-2"], ["ended", "1"], ["ended", "130"])


def test_the_environment_is_added_to_ours(output: Path) -> None:
    script = "import os; print(os.environ['PATH'] and os.environ['RAYFLEET_TEST'])"

    with output.open("wb") as file:
        child = ProcessTree(command(script), {"RAYFLEET_TEST": "up"}, file)
    child.wait(PATIENCE_S)

    assert output.read_text() == "up\n"


def test_a_file_is_held_by_one_process_until_that_ends(tmp_path: Path, output: Path) -> None:
    lock = tmp_path / "lock"
    holder = f"""
        import time
        from pathlib import Path
        from deployments.processes import hold
        with hold(Path({str(lock)!r})):
            print("up", flush=True)
            time.sleep(60)
    """
    with output.open("wb") as file:
        child = ProcessTree([sys.executable, "-c", textwrap.dedent(holder)], {}, file)
    with child:
        until(lambda: "up" in output.read_text())
        with pytest.raises(HeldError) as refused, hold(lock):
            pass
        holder_pid = str(refused.value)
        psutil.Process(child.pid).kill()
        child.wait(PATIENCE_S)

        with hold(lock):
            pass

    assert holder_pid == str(child.pid)
