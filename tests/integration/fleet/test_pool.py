"""A pool on a real fleet: more models than its memory holds, and a replica that is killed."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import psutil
import pytest

from tests.integration.hosting import (
    Fleet,
    eventually,
    in_parallel,
    infer_body,
    kill,
    replica_pids,
)

pytestmark = pytest.mark.ray

MODELS = [f"tail-{number:02}" for number in range(12)]
"""As `register_models` has them: 25 MiB each, 300 in all."""

MEMORY_MIB = 660
"""Of which the process itself took 400 to 540: the pages of its libraries come and go. The models
need 300."""

POOL = {"models": ["tail-*"], "num_replicas": 2, "memory_mib": MEMORY_MIB}
REPLICA = "tail--pool#Predictor"

LOAD_S = 3.0
CLIENTS = 4


@pytest.fixture(scope="module")
def pool(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a pool beside what it has."""
    fleet.deploy(fleet.user_config, pools={"tail": POOL})
    eventually("the pool", lambda: set(MODELS) <= ready_models(fleet))
    yield fleet
    fleet.deploy(fleet.user_config)
    eventually("the pool's end", lambda: not set(MODELS) & ready_models(fleet))


def ready_models(fleet: Fleet) -> set[str]:
    return {model for (model, _), entry in fleet.index().items() if entry["state"] == "READY"}


def test_every_model_answers_though_they_do_not_fit_into_memory_together(pool: Fleet) -> None:
    with watched(pool) as most_mib:
        faults = ask_for_a_while(pool, until=lambda spent_s: spent_s > LOAD_S)

    assert faults == []
    assert len(most_mib) == 2
    assert max(most_mib.values()) <= MEMORY_MIB


def test_a_pool_s_model_looks_like_any_other(pool: Fleet) -> None:
    status, _, body = pool.call("/api/v1/deployments/tail-03", door=pool.control_url)
    _, _, metrics = pool.call("/metrics")

    shown = json.loads(body)
    assert (status, shown["origin"], shown["spec"]["pool"]) == (200, "config", "tail")
    (version,) = shown["versions"]
    assert (version["application"], version["state"]) == ("tail--pool", "READY")
    assert b'rayfleet_requests_total{code="200"' in metrics
    assert b'model="tail-03"' in metrics


def test_a_replica_asks_little_of_its_interpreter(pool: Fleet) -> None:
    bodies = [pool.infer("tail-00", np.asarray([[asked]]))[1] for asked in (1001.5, 1002.5)]

    switch_s, filters = (body["outputs"][0]["data"][0] for body in bodies)
    assert (switch_s < 0.001, filters) == (True, 1)


def test_one_that_cannot_be_loaded_fails_alone(pool: Fleet) -> None:
    status, body = pool.infer("tail-broken", np.ones((1, 1)))

    assert status == 503
    assert body["error"] == (
        "model 'tail-broken' is not ready: version 1 could not be loaded:"
        " RuntimeError: weights file is torn"
    )
    assert pool.infer("tail-00", np.ones((1, 1)))[0] == 200


@pytest.mark.thorough
def test_a_replica_that_is_killed_loses_no_request(pool: Fleet) -> None:
    before = replicas(pool)
    killed = threading.Timer(LOAD_S / 3, lambda: kill(before, REPLICA))
    killed.start()

    faults = ask_for_a_while(
        pool,
        until=lambda spent_s: spent_s > LOAD_S and len(replicas(pool)) == 2,
    )

    killed.join()
    assert faults == []
    assert len(set(before) & set(replicas(pool))) == 1


def replicas(fleet: Fleet) -> dict[tuple[str, int], float]:
    return {key: at_s for key, at_s in replica_pids(fleet).items() if key[0] == REPLICA}


def ask_for_a_while(fleet: Fleet, *, until: Callable[[float], bool]) -> list[str]:
    """Have clients ask models at random; returns what they did not like."""
    began_s = time.monotonic()
    faults: list[str] = []
    done = threading.Event()

    def ask(seed: int) -> None:
        drawn = random.Random(seed)
        while not done.is_set():
            model, number = drawn.choice(MODELS), drawn.random()
            path = f"/v2/models/{model}/infer"
            status, _, body = fleet.call(
                path, infer_body(np.full((1, 1), number)), door=fleet.express_url
            )
            if status != 200 or json.loads(body)["outputs"][0]["data"] != [number * 2]:
                faults.append(f"{model}: {status} {body[:300]!r}")

    def watch() -> None:
        while not until(time.monotonic() - began_s):
            time.sleep(0.2)
        done.set()

    in_parallel([watch, *[partial(ask, seed) for seed in range(CLIENTS)]])
    return faults


@contextmanager
def watched(fleet: Fleet) -> Iterator[dict[int, float]]:
    """Look at the pool's replicas during a block; yields the most MiB that each process took."""
    most_mib: dict[int, float] = {}
    processes = [psutil.Process(pid) for _, pid in replicas(fleet)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    taken = process.memory_info().rss / 2**20
                    most_mib[process.pid] = max(taken, most_mib.get(process.pid, 0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most_mib
    finally:
        done.set()
        watcher.join()
