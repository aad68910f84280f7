"""docs/benchmarks.md names every option of the suite with its default."""

from benchmarks.suite.__main__ import parser
from tests.documents import REPOSITORY, options, rows, section

PAGE = REPOSITORY / "docs" / "benchmarks.md"


def test_options_have_their_defaults() -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(section(PAGE, "Suite"))}
    table = {name: shown for name, shown in table.items() if name.startswith("--")}

    assert set(table) == set(options(parser()))
    for name in ("searchers", "metrics"):
        assert table[f"--{name}"] == " ".join(parser().get_default(name))
    for name in ("trials", "seeds"):
        assert table[f"--{name}"] == str(parser().get_default(name))
