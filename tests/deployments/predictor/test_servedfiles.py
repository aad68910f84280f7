from pathlib import Path

import pytest

from deployments.predictor.servedfiles import VersionFiles
from deployments.schema import application_name


class Registry:
    """Copies a small file, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, uri: str, folder: str) -> str:
        self.asked.append(uri)
        (Path(folder) / "model").mkdir()
        (Path(folder) / "model" / "weights").write_text(uri)
        return str(Path(folder) / "model")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def files(registry: Registry) -> VersionFiles:
    return VersionFiles(registry.fetch)


def test_the_registry_is_asked_once(files: VersionFiles, registry: Registry) -> None:
    assert files.of("churn", "1") == files.of("churn", "1")
    assert files.of("churn", "2") != files.of("churn", "1")

    assert registry.asked == ["models:/churn/1", "models:/churn/2"]


def test_what_is_hosted_no_longer_is_removed(files: VersionFiles, registry: Registry) -> None:
    old, new = Path(files.of("churn", "1")), Path(files.of("churn", "2"))
    hosted = {application_name("churn", "2")}

    files.keep_only(hosted)
    assert old.is_dir()  # the controller may not know yet what a gateway has just asked for
    files.keep_only(hosted)

    assert (old.exists(), old.parent.exists(), new.is_dir()) == (False, False, True)
    assert Path(files.of("churn", "1")).is_dir()
    assert registry.asked[-1] == "models:/churn/1"


def test_what_is_hosted_again_in_time_is_kept(files: VersionFiles) -> None:
    found = Path(files.of("churn", "1"))

    for hosted in (set(), {application_name("churn", "1")}, set[str]()):
        files.keep_only(hosted)

    assert found.is_dir()


def test_what_a_cleaner_took_is_fetched_again(files: VersionFiles, registry: Registry) -> None:
    found = Path(files.of("churn", "1"))
    (found / "weights").unlink()
    found.rmdir()

    assert Path(files.of("churn", "1")).is_dir()
    assert len(registry.asked) == 2
