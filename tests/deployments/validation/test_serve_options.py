"""What Serve's schema takes, and Serve would stumble over once it deploys, is refused."""

from typing import Any

import pytest

from tests.deployments.validation.configs import config, gateways, listening

GATEWAY = "applications[0].deployments[1]"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(
            gateways(max_replicas_per_node=0),
            f"{GATEWAY}: Invalid max_replicas_per_node 0. Valid values are None or an integer in"
            " the range of [1, 100].",
            id="none-on-any-node",
        ),
        pytest.param(
            config() | {"logging_config": {"encoding": "XML"}},
            "logging_config.encoding: Got 'XML' for encoding. Encoding must be one of {'…",
            id="unknown-encoding",
        ),
        pytest.param(
            gateways(placement_group_bundles=[{"CPU": 1}], placement_group_strategy="STRICT"),
            f"{GATEWAY}: Invalid placement group strategy STRICT. Supported strategies are:…",
            id="unknown-placement",
        ),
        pytest.param(
            gateways(ray_actor_options={"resources": {"CPU": 1}}),
            f"{GATEWAY}: Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in"
            " 'resources' keyword",
            id="cpu-as-a-custom-resource",
        ),
        pytest.param(
            gateways(ray_actor_options={"num_cpus": float("inf")}),
            f"{GATEWAY}.ray_actor_options.num_cpus: inf: should be a number",
            id="endless-cpus",
        ),
        pytest.param(
            gateways(ray_actor_options={"runtime_env": {"py_executable": 5}}),
            f"{GATEWAY}.ray_actor_options.runtime_env.py_executable: 5: should be text",
            id="executable-that-is-no-text",
        ),
        pytest.param(
            gateways(num_replicas=2, autoscaling_config={"max_replicas": 3}),
            f"{GATEWAY}: Manually setting num_replicas is not allowed when…",
            id="fixed-and-scaled",
        ),
        pytest.param(
            listening(keep_alive_timeout_s=-1),
            "http_options.keep_alive_timeout_s: -1: should be 0 or more",
            id="keep-alive-below-nothing",
        ),
        pytest.param(
            listening(request_timeout_s="-0.5"),
            "http_options.request_timeout_s: '-0.5': should be 0 or more",
            id="timeout-below-nothing",
        ),
        pytest.param(
            listening(ssl_keyfile="key.pem"),
            "http_options: ssl_keyfile and ssl_certfile go together, or neither",
            id="key-without-a-certificate",
        ),
        pytest.param(
            gateways() | {"proxy_location": "Everywhere"},
            "proxy_location: 'Everywhere': should be 'Disabled', 'HeadOnly' or 'EveryNode'",
            id="unknown-proxy-location",
        ),
    ],
)
def test_what_serve_would_stumble_over_is_refused(validate: Any, content: Any, line: str) -> None:
    status, said = validate(content)

    assert status == 2
    # Serve's own text beyond "…" lists sets in any order, or is long.
    start, cut, _ = f"FILE: {line}".partition("…")
    assert said.startswith(start) if cut else said == start
    assert "\n" not in said


def test_options_that_serve_takes_are_good(validate: Any) -> None:
    content = gateways(
        autoscaling_config={"min_replicas": 1, "max_replicas": 3},
        max_ongoing_requests=50,
        max_replicas_per_node=2,
        rolling_update_percentage=0.5,
        ray_actor_options={"num_cpus": 0.5, "resources": {"edge": 1}},
        logging_config={"log_level": "DEBUG"},
    )

    assert validate(content) == (0, "FILE: valid")
