"""A PostgreSQL server for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.deployments.store.databases import postgresql


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with postgresql(tmp_path_factory.mktemp("pg")) as url:
        yield url
