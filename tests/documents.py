"""Read what README and docs show: code blocks, commands with their output, tables."""

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
DOCUMENTS = [README, REPOSITORY / "CHANGELOG.md", REPOSITORY / "CONTRIBUTING.md", *DOCS]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    path: Path
    line: int
    """Of the opening fence, from 1."""

    language: str
    text: str

    @property
    def place(self) -> str:
        """Id of a test about this block."""
        return f"{self.path.name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One line behind a prompt, and what is shown below it."""

    path: Path
    line: int
    words: tuple[str, ...]
    output: str

    @property
    def program(self) -> str:
        """First word, without the folder of an environment."""
        return Path(self.words[0]).name

    @property
    def place(self) -> str:
        """Id of a test about this command."""
        return f"{self.path.name}:{self.line}"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a curl command sends."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    port: int


def blocks(path: Path, language: str | None = None) -> list[Block]:
    """Fenced blocks of a document, all or those of one language."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number, line.removeprefix("```").strip()
            continue
        start, name = opened
        found.append(Block(path, start, name, "\n".join(lines[start : number - 1])))
        opened = None
    assert opened is None, f"{path.name}: block of line {opened} is not closed"
    return [block for block in found if language in (None, block.language)]


def commands(*paths: Path) -> list[Command]:
    """Commands of all console blocks."""
    return [
        command
        for path in paths
        for block in blocks(path, "console")
        for command in _commands_of(block)
    ]


def http_request(command: Command) -> HttpRequest:
    """Read a curl command; options that are not known here fail."""
    url, body, headers, method = "", None, {}, None
    words = iter(command.words[1:])
    for word in words:
        match word:
            case "-s" | "-i" | "-si":
                continue
            case "-d":
                body = next(words).encode()
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            case _:
                assert not word.startswith("-"), f"{command.place}: unknown option {word}"
                url = word
    found = re.fullmatch(r"localhost:(8000|8080|8081)(/.*)", url)
    assert found is not None, f"{command.place}: asks {url!r}"
    way = method or ("GET" if body is None else "POST")
    return HttpRequest(way, found[2], headers, body, int(found[1]))


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every subcommand and option of a parser, but for help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield name
                yield from options(inner)
        elif not isinstance(action, argparse._HelpAction):
            yield from action.option_strings


def section(path: Path, heading: str) -> str:
    """Text below a heading, up to the next one."""
    parts = re.split(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in texts, f"{path.name} has no heading {heading!r}"
    return texts[heading]


def rows(text: str) -> list[list[str]]:
    """Cells of all table rows, the headings included."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if not set(line) <= set("|-: ")
    ]


def _commands_of(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        words = tuple(shlex.split(lines[start].removeprefix("$ ")))
        yield Command(block.path, block.line + 1 + start, words, "\n".join(lines[start + 1 : end]))
