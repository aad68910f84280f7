"""From a YAML file to an immutable spec, or to one line for each fault.

A fault reads `FILE: PATH: what is wrong with which value, what is allowed`, because
that is all a person needs to mend it; tracebacks are for our mistakes, not theirs.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuning.errors import ConfigError


class KnownKeys(BaseModel):
    """Base of what people write: typo-proof, self-documenting."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, value: Any) -> Any:
        # pydantic's own message for an extra key does not say which ones exist.
        if isinstance(value, Mapping):
            allowed = [field.alias or name for name, field in cls.model_fields.items()]
            unknown = [key for key in value if key not in allowed]
            if unknown:
                raise ValueError(unknown_key(*unknown, allowed=allowed))
        return value


class Spec(KnownKeys):
    """Base of all specs: immutable, too.

    Types are strict, since `true` is no number of trials and `"4"` is text.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _exponents_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # Serve reads its config files itself, and takes 1e-3 for text as YAML 1.1 does.
        if isinstance(value, str) and EXPONENT.fullmatch(value) and info.field_name is not None:
            types = leaves(cls.model_fields[info.field_name].annotation)
            return float(value) if float in types and str not in types else value
        return value

    @classmethod
    def load(cls, value: Any, *, where: str = "", path: str = "") -> Self:
        """Validate a parsed value.

        Args:
            value: What the YAML parser returned.
            where: The file, which begins every fault; empty when there is none.
            path: Where the value stands in the file; empty for all of it.

        Raises:
            ConfigError: One line for each fault.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise ConfigError(fault_lines(error, value, where=where, path=path)) from None
        except RecursionError:
            raise ConfigError(_joined(where, path, "nested too deeply")) from None


AnySpec = TypeVar("AnySpec", bound=Spec)

EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\Z")
"""Numbers that YAML 1.2 knows and YAML 1.1, so PyYAML, takes for text."""

PLAIN_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "model_type": "should be a mapping of keys to values",
    "model_attributes_type": "should be a mapping of keys to values",
    "dict_type": "should be a mapping of keys to values",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text",
    "string_pattern_mismatch": "should be letters, digits and . _ -, first a letter or digit",
    "string_too_short": "should not be empty",
    "too_short": "should not be empty",
}
"""What pydantic says in words of its own, by its name for the fault."""


ENUM = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""How Python shows a member of an enumeration, whose value is what a file may say."""

PYDANTIC_SUBJECT = re.compile(r"\b(Input|List|String|Tuple) should\b")
"""What pydantic calls the value, which our lines quote before."""

MOST_NESTED = 100
"""Levels of mappings and lists within one another that a file may have."""

MOST_SHOWN = 100
"""Characters of a value that a line quotes."""


def unknown_key(*keys: object, allowed: Iterable[object]) -> str:
    """Say that keys do not exist, which do, and which ones were probably meant."""
    names = sorted(map(str, allowed))
    said = ", ".join(f"{key!r}{meant(str(key), names)}" for key in keys)
    word = "key" if len(keys) == 1 else "keys"
    return f"unknown {word} {said}, allowed: {', '.join(names)}"


def meant(name: str, known: Iterable[str]) -> str:
    """Ask whether a known name was meant, in brackets; empty when none is close."""
    # Comparing takes the square of a name's length.
    close = difflib.get_close_matches(name, known, n=1) if len(name) <= MOST_SHOWN else None
    return f" (did you mean {close[0]!r}?)" if close else ""


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
    if _is_nested_too_deeply(text):
        raise ConfigError(
            f"{path}: not valid YAML: nested too deeply, {MOST_NESTED} levels at most"
        )
    try:
        return yaml.load(text, Loader=_QuickLoader)  # noqa: S506, a safe one below
    except Exception:  # noqa: BLE001, PyYAML's constructors raise whatever they meet
        return _read_to_explain(path, text)


def _read_to_explain(path: Path, text: str) -> Any:
    # LibYAML does not name what it cannot read.
    try:
        return yaml.load(text, Loader=_ClearLoader)  # noqa: S506, a safe one below
    except Exception as error:  # noqa: BLE001, PyYAML's constructors raise whatever they meet
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        first = (str(error).splitlines() or [""])[0]
        problem = getattr(error, "problem", None) or f"a value cannot be read: {first}"
        if problem == "but found another document":
            raise ConfigError(f"{path}:{line} begins another document, one is allowed") from None
        raise ConfigError(f"{path}:{line} not valid YAML: {problem}") from None


def _is_nested_too_deeply(text: str) -> bool:
    # Asked first, since LibYAML's loader follows the nesting until the process dies.
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_QuickLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MOST_NESTED:
                return True
    except yaml.YAMLError:
        pass  # who reads it says so
    return False


def read_spec(path: Path, spec: type[AnySpec]) -> AnySpec:
    """Read a YAML file that holds one spec."""
    return spec.load(read_yaml(path), where=str(path))


def fault_lines(error: ValidationError, given: Any, *, where: str, path: str = "") -> str:
    """Render a validation error, one line for each fault.

    Args:
        error: What pydantic raised.
        given: The value that it was raised for.
        where: The file, which begins every fault.
        path: Where the value stands in the file; empty for all of it.
    """
    return lines_of(error.errors(include_url=False), given, where=where, path=path)


def lines_of(
    faults: Iterable[Mapping[str, Any]], given: Any, *, where: str = "", path: str = ""
) -> str:
    """Render pydantic's faults as `fault_lines` does those of an error."""
    placed = [(_place(fault, given), fault) for fault in faults]
    outer = {place[:length] for place, _ in placed for length in range(len(place))}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for place, fault in placed:
        # Of a union, the member that was understood further is the one that was meant.
        if not (_is_of_type(fault) and place in outer):
            line = _joined(where, _start(path + _spelled(place, first=not path), fault))
            found.setdefault(line, []).append(fault)
    return "\n".join(_joined(line, _words(each)) for line, each in found.items())


def _start(place: str, fault: Mapping[str, Any]) -> str:
    # Our own validators already name the value.
    if fault["type"] in {"value_error", "missing"}:
        return place
    return _joined(place, f"{as_yaml(fault.get('input')):.{MOST_SHOWN}}")


def _words(faults: Sequence[Mapping[str, Any]]) -> str:
    """Say what is wrong at one place; what fits no member of a union has a fault for each."""
    closest = next((fault for fault in faults if not _is_of_type(fault)), None)
    messages = list(dict.fromkeys(map(_message, faults)))
    if closest is not None or len(messages) == 1:
        return _message(closest or faults[0])
    kinds = [message.removeprefix("should be ") for message in messages]
    if "a number" in kinds:  # whole or not
        kinds = [kind for kind in kinds if kind != "a whole number"]
    return "should be " + " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))


def _is_of_type(fault: Mapping[str, Any]) -> bool:
    return str(fault["type"]).endswith("_type")


def _message(fault: Mapping[str, Any]) -> str:
    message = ENUM.sub(r"\1", PLAIN_WORDS.get(fault["type"], fault["msg"]))
    return PYDANTIC_SUBJECT.sub("should", message.removeprefix("Value error, "))


def as_yaml(value: object) -> str:
    """Quote a value as its file has it."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)


def _place(fault: Mapping[str, Any], given: Any) -> tuple[str | int, ...]:
    """Follow the path to a fault as far as the given value goes.

    Beyond it, pydantic counts its own schema's parts, such as the members of a union.
    """
    parts: Sequence[int | str] = fault["loc"]
    place: tuple[str | int, ...] = ()
    for index, part in enumerate(parts):
        if given is fault["input"] and fault["type"] != "missing":
            break  # however much a member is called like a key
        is_missing = fault["type"] == "missing" and index == len(parts) - 1
        if isinstance(part, str) and (part.startswith("<") or isinstance(given, list | tuple)):
            continue  # a union's member: no key of ours is spelled so, and a list has no keys
        if isinstance(given, Mapping):
            key = next((key for key in given if str(key) == str(part)), None)
            if key is None and not is_missing:
                break
            place += (str(part),)
            given = given.get(key)
        elif isinstance(given, list | tuple) and isinstance(part, int):
            if part >= len(given) and not is_missing:
                break
            place += (part,)
            given = given[part] if part < len(given) else None
        else:
            break
    return place


def _spelled(place: Sequence[str | int], *, first: bool) -> str:
    """Write a path; `first` where nothing stands before it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") if first else text


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)


def leaves(annotation: Any) -> set[Any]:
    """The plain types inside an annotation such as `Annotated[float, ...] | None`."""
    inner = [part for part in get_args(annotation) if not isinstance(part, str)]
    return set().union(*map(leaves, inner)) if inner else {annotation}


class _UniqueKeys(yaml.constructor.SafeConstructor):
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


class _QuickLoader(_UniqueKeys, yaml.CSafeLoader):
    """LibYAML's parser: ten times as fast as PyYAML's own."""


class _ClearLoader(_UniqueKeys, yaml.SafeLoader):
    """PyYAML's own parser, which names what it stumbles over."""


for _loader in (_QuickLoader, _ClearLoader):
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
