"""`python -m kuberay.checks`, as `make kuberay-validate` runs it."""

from pathlib import Path

import pytest

from kuberay.checks.__main__ import main
from kuberay.checks.rendering import INSTALLATIONS, rendered
from kuberay.checks.schemas import VARIABLE, schema_folder

pytestmark = pytest.mark.ray
"""Renders all folders, and holds every object against its schema."""


def test_it_says_what_it_has_checked_and_finds_nothing(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main()

    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
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
