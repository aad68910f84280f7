"""What a gateway leaves to others: each of these costs memory, and up to a second at its start."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray  # starts an interpreter


def test_a_gateway_imports_neither_mlflow_nor_alembic() -> None:
    program = (
        "import sys\n"
        "import deployments.gateway.gateway\n"
        "sys.exit(' '.join({'mlflow', 'alembic'} & set(sys.modules)) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
