"""Files that are no config at all get one line, never a traceback."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tuning.configfile import MOST_NESTED, Spec, fault_lines, read_yaml
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


class Choice(Spec):
    """A field of many types."""

    value: bool | int | float | list[int | str] | None = None


@pytest.mark.parametrize(
    ("given", "line"),
    [
        pytest.param(
            {"value": "x"},
            "value: 'x': should be true or false, a number or a list",
            id="no-member",
        ),
        pytest.param(
            {"value": [1, {}]}, "value[1]: {}: should be a whole number or text", id="list-is-meant"
        ),
        pytest.param(
            {"value": {"int": 1}},
            "value: {'int': 1}: should be true or false, a number or a list",
            id="key-called-as-a-member",
        ),
    ],
)
def test_what_fits_no_member_of_a_union_is_one_line(given: Any, line: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Choice.model_validate(given)

    assert fault_lines(refused.value, given, where="") == line


def test_a_key_with_a_dot_hides_no_other_fault() -> None:
    class Named(Spec):
        by_name: dict[str, Choice]

    given = {"by_name": {"a": 5, "a.value": {"value": "x"}}}
    with pytest.raises(ValidationError) as refused:
        Named.model_validate(given)

    first, second = fault_lines(refused.value, given, where="").splitlines()
    assert first == "by_name.a: 5: should be a mapping of keys to values"
    assert second.startswith("by_name.a.value.value: 'x': should be")
