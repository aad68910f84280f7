"""The doors of the gateway's application."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployments.gateway.certificates import Certificates, make_certificates
from tests.deployments.gateway.hosted import DOOR, express_door, plain_door, taken_door


@pytest.fixture(
    params=[
        pytest.param(plain_door, id="serve"),
        pytest.param(express_door, id="express", marks=pytest.mark.ray),  # starts a server
        pytest.param(taken_door, id="past-serve", marks=pytest.mark.ray),
    ]
)
def door(request: Any) -> Iterator[None]:
    """Runs a test thrice: as Serve calls the application, over the express port, and past Serve."""
    token = DOOR.set(request.param)
    yield
    DOOR.reset(token)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))
