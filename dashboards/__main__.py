"""Write every dashboard: python -m dashboards."""

import sys
from pathlib import Path

from dashboards.boards import BOARDS
from dashboards.writing import encoded

FOLDER = Path(__file__).parents[1] / "configs" / "monitoring" / "grafana" / "dashboards"


def main() -> int:
    """Returns the exit status."""
    for name, board in BOARDS.items():
        path = FOLDER / f"{name}.json"
        path.write_text(encoded(board().build()))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
