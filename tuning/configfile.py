"""From a YAML file to an immutable spec, or to one line for each fault.

A fault reads `FILE: PATH: what is wrong with which value, what is allowed`, because
that is all a person needs to mend it; tracebacks are for our mistakes, not theirs.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tuning.errors import ConfigError


class Spec(BaseModel):
    """Base of all specs: immutable, typo-proof, self-documenting."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, value: Any) -> Any:
        # pydantic's own message for an extra key does not say which ones exist.
        if isinstance(value, Mapping):
            allowed = [field.alias or name for name, field in cls.model_fields.items()]
            for key in value:
                if key not in allowed:
                    raise ValueError(unknown_key(key, allowed))
        return value

    @classmethod
    def load(cls, value: Any, *, where: str) -> Self:
        """Validate a parsed value.

        Args:
            value: What the YAML parser returned.
            where: The prefix of every fault, a file and perhaps a path in it.

        Raises:
            ConfigError: One line for each fault.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(fault_lines(error, where=where)) from None
        except RecursionError:
            raise ConfigError(f"{where}: nested too deeply") from None


AnySpec = TypeVar("AnySpec", bound=Spec)

PLAIN_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "model_type": "should be a mapping of keys to values",
    "dict_type": "should be a mapping of keys to values",
    "string_pattern_mismatch": "should be letters, digits and . _ -, first a letter or digit",
    "too_short": "should not be empty",
}
"""What pydantic says in words of its own, by its name for the fault."""


def unknown_key(key: object, allowed: Any) -> str:
    """Say that a key does not exist, which do, and which one was probably meant."""
    names = sorted(map(str, allowed))
    close = difflib.get_close_matches(str(key), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown key {key!r}{hint}, allowed: {', '.join(names)}"


def read_yaml(path: Path) -> Any:
    """Parse one YAML document.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506, a SafeLoader below
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    except Exception as error:  # noqa: BLE001, PyYAML's constructors raise whatever they meet
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        first = (str(error).splitlines() or [""])[0]
        problem = getattr(error, "problem", None) or f"a value cannot be read: {first}"
        raise ConfigError(f"{path}:{line} not valid YAML: {problem}") from None


def read_spec(path: Path, spec: type[AnySpec]) -> AnySpec:
    """Read a YAML file that holds one spec."""
    return spec.load(read_yaml(path), where=str(path))


def fault_lines(error: ValidationError, *, where: str) -> str:
    """Render a validation error, one line for each fault."""
    lines = []
    for fault in error.errors(include_url=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]
        ).lstrip(".")
        message = (
            PLAIN_WORDS.get(fault["type"], fault["msg"])
            .removeprefix("Value error, ")
            .replace("Input should", "should")
        )
        value = fault.get("input")
        # Our own validators already name the value; containers would flood the line.
        if fault["type"] != "value_error" and not isinstance(value, Mapping | list | tuple):
            message = f"{value!r}: {message}" if fault["type"] != "missing" else message
        lines.append(": ".join(part for part in (where, path, message) if part))
    return "\n".join(lines)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; a config must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
