from typing import Any

import pytest

from deployments.schema import parse_application_name
from deployments.userconfig import (
    ModelsSpec,
    PoolSpec,
    parse_pool_application,
    pool_application,
)
from tuning.errors import ConfigError


@pytest.mark.parametrize(
    ("models", "pools", "line"),
    [
        pytest.param(
            {"m": {"pool": "tabluar"}},
            {"tabular": {}},
            "FILE: models.m.pool: 'tabluar': no such pool (did you mean 'tabular'?),"
            " pools: tabular",
            id="typo-in-the-pool",
        ),
        pytest.param(
            {"m": {"pool": "tabular"}},
            {},
            "FILE: models.m.pool: 'tabular': no such pool, pools: none",
            id="no-pool-at-all",
        ),
        pytest.param(
            {"m": {"pool": "p", "num_replicas": 2, "transport": "inline"}},
            {"p": {}},
            "FILE: models.m: pool 'p' has the replicas, so leave out transport, num_replicas",
            id="replicas-of-its-own",
        ),
        pytest.param(
            {},
            {"p": {"settings": {"ray_actor_options": {"num_cpus": 1}}}},
            "FILE: pools.p.settings: the pool itself has the replicas, so leave out"
            " ray_actor_options",
            id="replicas-in-the-settings",
        ),
        pytest.param(
            {},
            {"p": {"settings": {"pool": "q"}}},
            "FILE: pools.p.settings: the pool itself has the replicas, so leave out pool",
            id="a-pool-in-the-settings",
        ),
        pytest.param(
            {},
            {"p": {"ray_actor_options": {"num_gpus": 0.5}}},
            "FILE: pools.p: ray_actor_options.num_gpus: a pool has no GPU; give a model that"
            " needs one replicas of its own",
            id="gpu",
        ),
        pytest.param(
            {},
            {"p": {"ray_actor_options": {"accelerator_type": "L4"}}},
            "FILE: pools.p: ray_actor_options.accelerator_type: a pool has no GPU; give a model"
            " that needs one replicas of its own",
            id="accelerator",
        ),
        pytest.param(
            {},
            {"p": {"num_replicas": 2, "autoscaling_config": {"max_replicas": 3}}},
            "FILE: pools.p: give num_replicas or autoscaling_config, not both",
            id="fixed-and-scaled",
        ),
        pytest.param(
            {},
            {"p": {"memory_mib": 100}},
            "FILE: pools.p.memory_mib: 100: should be greater than or equal to 256",
            id="no-memory",
        ),
        pytest.param(
            {},
            {"p": {"models": "tail-*"}},
            "FILE: pools.p.models: 'tail-*': should be a list",
            id="a-pattern-that-is-no-list",
        ),
        pytest.param(
            {},
            {"p": {"models": [""]}},
            "FILE: pools.p.models[0]: '': should not be empty",
            id="an-empty-pattern",
        ),
        pytest.param(
            {},
            {"a--b": {}},
            "FILE: pools: pool name 'a--b' cannot be used, allowed: letters, digits, '.', '_'"
            " and single '-', starting with a letter or digit",
            id="name",
        ),
        pytest.param(
            {},
            {"p": {"memory": 1}},
            "FILE: pools.p: unknown key 'memory' (did you mean 'memory_mib'?), allowed:"
            " autoscaling_config, memory_mib, models, num_replicas, ray_actor_options, settings",
            id="typo-in-a-pool",
        ),
    ],
)
def test_pools_that_are_refused(models: Any, pools: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelsSpec.load({"models": models, "pools": pools}, where="FILE")

    assert str(caught.value) == line


def test_a_pooled_model_may_have_all_settings_that_are_not_of_replicas() -> None:
    settings = {"traffic": {"champion": 90, "challenger": 10}, "runtime": "pyfunc"}

    spec = ModelsSpec.load(
        {
            "models": {"m": {"pool": "p", "max_batch_size": 8, **settings}},
            "pools": {"p": {"settings": {"request_deadline_s": 5, **settings}}},
        }
    )

    assert spec.models["m"].pool == "p"
    assert spec.pools["p"].settings.request_deadline_s == 5


@pytest.mark.parametrize(
    ("patterns", "model", "takes"),
    [
        pytest.param(["tail-*"], "tail-1", True, id="star"),
        pytest.param(["tail-*"], "a-tail-1", False, id="from-the-start"),
        pytest.param(["tail-*"], "TAIL-1", False, id="case-counts"),
        pytest.param(["tail-?"], "tail-12", False, id="one-character"),
        pytest.param(["x", "churn"], "churn", True, id="a-name"),
        pytest.param([], "churn", False, id="nothing"),
    ],
)
def test_patterns(patterns: list[str], model: str, takes: bool) -> None:
    assert PoolSpec(models=patterns).takes(model) is takes


@pytest.mark.parametrize("pool", ["tail", "v1", "a-v1", "pool"])
def test_a_pool_s_application_is_never_taken_for_a_version_s(pool: str) -> None:
    name = pool_application(pool)

    assert parse_pool_application(name) == pool
    assert parse_application_name(name) is None
    assert parse_pool_application(f"{pool}--v1") is None
