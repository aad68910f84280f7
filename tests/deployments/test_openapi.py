"""Requests that schemathesis makes from the OpenAPI descriptions, at both applications."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from deployments.controller.api import make_api, problems
from deployments.controller.training_api import training_router
from deployments.haproxy import free_port
from deployments.store.store import FleetStore
from deployments.training.training import Training
from tests.deployments.controller.desks import FakeDesk, make_rollout
from tests.deployments.controller.test_api import Fixture
from tests.deployments.gateway.hosted import SPLIT, Fleet
from tests.deployments.training.fake_jobs import FakeJobs
from tests.tuning.sequential import home_at, sweep

REPOSITORY = Path(__file__).parents[2]
SCHEMATHESIS = REPOSITORY / ".venvs" / "clients" / "bin" / "schemathesis"
CHECKS = "not_a_server_error,status_code_conformance,response_headers_conformance"

pytestmark = [
    pytest.mark.ray,  # starts servers
    pytest.mark.skipif(
        not SCHEMATHESIS.exists(), reason="no stock clients: make .venvs/clients/.installed"
    ),
]


@contextlib.contextmanager
def served(app: Any, begin: Any = None) -> Iterator[str]:
    """Serve an application from a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="error"))

    async def serve() -> None:
        if begin is not None:
            begin()
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        thread.join(30)


def fuzz(url: str, folder: Path) -> str:
    finished = subprocess.run(
        [
            SCHEMATHESIS, "run", f"{url}/openapi.json", "--checks", CHECKS,
            "--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color",
        ],
        cwd=folder, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr
    return finished.stdout


def test_inference(tmp_path: Path) -> None:
    fleet = Fleet(SPLIT)

    with served(fleet.app, fleet.apply) as url:
        said = fuzz(url, tmp_path)

    assert "Tested: 27" in said


def test_control_api(tmp_path: Path) -> None:
    store = FleetStore(f"sqlite:///{tmp_path / 'fleet.db'}", "one")
    store.migrate()
    fixture = Fixture(store)
    home = home_at(tmp_path / "home")
    sweep(home, "forest")
    training = Training(FakeJobs(), home)
    desk = FakeDesk(make_rollout())
    routers = [training_router(training, problems)]
    api = make_api(fixture.control, fixture.ready, None, routers, rollouts=desk, only_loopback=True)
    with served(api) as url:
        said = fuzz(url, tmp_path)

    assert "Tested: 21" in said
    store.close()
