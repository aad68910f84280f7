import subprocess
from pathlib import Path

import pytest

from deployments.training.jobs import provenance
from tuning.provenance import COMMIT_VARIABLE, commit_with_changes, git_commit


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / "sweep.yaml").write_text("name: a")
    git(folder, "add", "sweep.yaml")
    git(folder, "commit", "-m", "One")
    return folder


def test_a_plus_tells_of_changes(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    clean = commit_with_changes(repository)
    (repository / "sweep.yaml").write_text("name: b")

    assert (clean, commit_with_changes(repository)) == (commit, f"{commit}+")


def test_a_job_knows_the_commit_of_the_folder_it_was_submitted_from(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "sweep.yaml").write_text("name: b")
    told = provenance(repository)
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    assert git_commit() is None

    monkeypatch.setenv(COMMIT_VARIABLE, told[COMMIT_VARIABLE])

    assert (git_commit(), commit_with_changes()) == (commit, f"{commit}+")


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert commit_with_changes(tmp_path) is None
    assert provenance(tmp_path) == {}
