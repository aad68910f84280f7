"""`python -m kuberay.checks`, as `make kuberay-validate` runs it."""

import sys
import time
from pathlib import Path

import pytest

from kuberay.checks.__main__ import main
from kuberay.checks.rendering import INSTALLATIONS, Installation, rendered
from kuberay.checks.schemas import VARIABLE, schema_folder

pytestmark = pytest.mark.ray
"""Renders all folders, and holds every object against its schema."""

MOST_S = 30.0
"""So that people run it before each commit."""


def test_it_says_what_it_has_checked_and_finds_nothing(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started_at_s = time.monotonic()
    status = main()
    took_s = time.monotonic() - started_at_s

    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    assert took_s < MOST_S
    for installation in INSTALLATIONS:
        assert f"{installation.name}: " in said.out
    assert ("SKIPPED" in said.out) == (schema_folder() is None)


def test_without_kuberays_schemas_it_says_so_and_checks_the_rest(
    program: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    status = main()

    said = capsys.readouterr().out
    assert status == 0
    assert f"SKIPPED KubeRay's schemas: {VARIABLE}" in said
    assert "development: " in said


def test_a_folder_that_kubectl_refuses_is_named(program: str) -> None:
    with pytest.raises(RuntimeError, match=r"kuberay/checks: .*kustomization"):
        rendered(Path(rendered.__code__.co_filename).parent, program)


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        pytest.param("jobs/sweep", "serviceAccountName 'submitter'", id="fault"),
        pytest.param("checks", "kustomization", id="refused-by-kubectl"),
    ],
)
def test_a_fault_is_said_and_makes_it_fail(
    folder: str,
    said: str,
    program: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = Installation("broken", (folder,))
    monkeypatch.setattr("kuberay.checks.__main__.INSTALLATIONS", (broken,))

    status = main()

    assert status == 1
    assert said in capsys.readouterr().err


def test_without_kubectl_it_says_so_and_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    status = main()

    assert status == 0
    assert "SKIPPED: no kubectl here" in capsys.readouterr().out
