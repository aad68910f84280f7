"""Files that are no config at all get one line, never a traceback."""

from pathlib import Path

import pytest

from tuning.configfile import MOST_NESTED, read_yaml
from tuning.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: 2020-99-99\n", id="a-date-that-is-none"),
        pytest.param("? [a, b]\n: 1\n", id="a-list-as-a-key"),
        pytest.param("a: [1\n", id="a-bracket-left-open"),
        pytest.param("a: 1\na: 2\n", id="a-key-twice"),
        pytest.param('a: !!int ""\n', id="a-number-that-is-none"),
        pytest.param("a: !!bool maybe\n", id="a-boolean-that-is-none"),
        pytest.param("a: !!timestamp soon\n", id="a-time-that-is-none"),
        pytest.param("[" * 1000 + "]" * 1000, id="nested-lists"),
        pytest.param("{a: " * 1000, id="nested-mappings-left-open"),
        pytest.param("- " * 1_000_000, id="nested-without-end"),
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as refused:
        read_yaml(path)

    assert str(refused.value).startswith(f"{path}:")
    assert "not valid YAML" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n---\na: 2\n")

    with pytest.raises(ConfigError) as refused:
        read_yaml(path)

    assert str(refused.value) == f"{path}: line 2: begins another document, one is allowed"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a: @b\n", "character '@' that cannot start"), ("a: *b\n", "undefined alias 'b'")],
    ids=["a-character", "an-alias"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=problem):
        read_yaml(path)


def test_nested_as_deep_as_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("[" * MOST_NESTED + "]" * MOST_NESTED)

    assert isinstance(read_yaml(path), list)
