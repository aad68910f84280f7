"""Write the rules and alerts for the Prometheus operator: python -m kuberay.rules."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
SOURCES = REPOSITORY / "configs" / "monitoring" / "rules"
TARGET = REPOSITORY / "kuberay" / "monitoring" / "rules.yaml"


def prometheus_rules(sources: Path = SOURCES) -> list[dict[str, Any]]:
    """An object for each file of rules."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": path.stem},
            "spec": yaml.safe_load(path.read_text()),
        }
        for path in sorted(sources.glob("*.yaml"))
    ]


def encoded(objects: Sequence[dict[str, Any]]) -> str:
    """The text of the file that holds them."""
    text = yaml.safe_dump_all(objects, sort_keys=False, width=10**6, allow_unicode=True)
    return f"# Written by python -m kuberay.rules from configs/monitoring/rules.\n{text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m kuberay.rules",
        description=f"Write {TARGET.relative_to(REPOSITORY)}"
        f" from {SOURCES.relative_to(REPOSITORY)}.",
    ).parse_args(arguments)
    TARGET.write_text(encoded(prometheus_rules()))
    print(TARGET.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
