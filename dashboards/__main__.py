"""Write every dashboard: python -m dashboards."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.writing import encoded

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "configs" / "monitoring" / "grafana" / "dashboards"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m dashboards",
        description=f"Write Grafana's dashboards into {FOLDER.relative_to(REPOSITORY)}.",
    ).parse_args(arguments)
    for name, board in BOARDS.items():
        path = FOLDER / f"{name}.json"
        path.write_text(encoded(board().build()))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
