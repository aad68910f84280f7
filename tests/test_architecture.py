"""Budgets and drawings that hold for the whole repository."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from deployments import errors as fleet_errors
from tuning import errors as tuning_errors

ROOT = Path(__file__).parents[1]
PACKAGES = ("deployments", "tuning", "dashboards", "benchmarks", "kuberay")
MODULES = sorted(
    path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)

MAX_LINES = 400
"""A module that grows beyond this holds a second idea."""

BANNED = {"utils", "util", "helpers", "helper", "common", "misc"}
"""Names that say nothing about what is inside."""

BRANCH = re.compile(r"^((?:│   |    )*)(?:├── |└── )?(\w+Error)\b")


def test_there_are_modules_to_check() -> None:
    assert {path.parts[0] for path in MODULES} >= {"deployments", "tuning"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_is_short_and_named_after_what_it_holds(path: Path) -> None:
    n_lines = len((ROOT / path).read_text().splitlines())

    assert n_lines <= MAX_LINES
    assert not {*path.with_suffix("").parts} & BANNED


@pytest.mark.parametrize("module", [fleet_errors, tuning_errors], ids=lambda m: m.__name__)
def test_the_drawn_error_tree_is_the_real_one(module: ModuleType) -> None:
    assert drawn_parents(module.__doc__ or "") == real_parents(module)


def drawn_parents(drawing: str) -> dict[str, str]:
    """Read each error's parent off the tree in a docstring; the root's is `Exception`."""
    parents: dict[str, str] = {}
    above = ["Exception"]
    for line in drawing.splitlines():
        found = BRANCH.match(line)
        if found is None:
            continue
        is_root = "── " not in line
        depth = 0 if is_root else len(found[1]) // 4 + 1
        above[depth + 1 :] = [found[2]]
        parents[found[2]] = above[depth]
    return parents


def real_parents(module: ModuleType) -> dict[str, str]:
    """Each error's base class, by name."""
    return {
        name: item.__base__.__name__
        for name, item in vars(module).items()
        if inspect.isclass(item) and issubclass(item, Exception) and item.__base__ is not None
    }
