from pathlib import Path

import pytest

from tuning.errors import ConfigError
from tuning.home import HOME_VARIABLE, resolve_home


def test_the_root_is_made_absolute_and_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, "some/home")

    assert resolve_home().root == tmp_path / "some" / "home"
    assert (tmp_path / "some" / "home").is_dir()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param("a?b", "contains '?', allowed: a path without ? and %", id="question-mark"),
        pytest.param("a%41", "contains '%', allowed: a path without ? and %", id="percent"),
        pytest.param("file/home", "cannot be created: Not a directory", id="below-a-file"),
        pytest.param("file", "cannot be created: File exists", id="a-file"),
    ],
)
def test_a_root_that_cannot_hold_a_database_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / name))

    with pytest.raises(ConfigError) as refused:
        resolve_home()

    assert str(refused.value) == f"RAYFLEET_HOME: '{tmp_path / name}': {fault}"
