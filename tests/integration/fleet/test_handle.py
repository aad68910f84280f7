"""Serve's own handle does what every transport must."""

from pathlib import Path

import pytest

from tests.integration.hosting import Fleet

CONTRACT = Path(__file__).with_name("handle_contract.py")

pytestmark = pytest.mark.ray


def test_it_keeps_the_contract(fleet: Fleet) -> None:
    fleet.cluster.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", CONTRACT)
