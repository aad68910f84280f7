"""Each fault of a config is one line, with the value and what is allowed."""

from typing import Any

import pytest

from tests.deployments.validation.configs import (
    MODELS,
    PORT,
    RUNTIME_ENV_KEYS,
    STORES,
    config,
    hosting,
)


def test_a_good_config_is_said_to_be_good(validate: Any) -> None:
    assert validate(config()) == (0, "FILE: valid")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(None, "FILE: cannot be read: No such file or directory", id="missing-file"),
        pytest.param(
            "applications: [", "FILE: line 1: not valid YAML: expected the node content,"
            " but found '<stream end>'", id="not-yaml",
        ),
        pytest.param(
            "applications: []\napplications: []\n",
            "FILE: line 2: not valid YAML: key 'applications' stands twice",
            id="duplicate-key",
        ),
        pytest.param(
            config() | {"http_option": {}},
            "FILE: unknown key 'http_option' (did you mean 'http_options'?), allowed:…",
            id="typo-at-the-top",
        ),
        pytest.param(
            config() | {"http_options": {"prot": 8000}},
            "FILE: http_options: unknown key 'prot' (did you mean 'port'?), allowed:…",
            id="typo-in-http-options",
        ),
        pytest.param(
            config(import_pth="x"),
            "FILE: applications[0]: unknown key 'import_pth' (did you mean 'import_path'?),…",
            id="typo-in-an-application",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "num_replica": 3}]),
            "FILE: applications[0].deployments[0]: unknown key 'num_replica'"
            " (did you mean 'num_replicas'?), allowed:…",
            id="typo-in-a-deployment",
        ),
        pytest.param(
            config(args={"registry_pol_s": 1}),
            "FILE: applications[0].args: unknown key 'registry_pol_s'"
            " (did you mean 'registry_poll_s'?), allowed:…",
            id="typo-in-args",
        ),
        pytest.param(
            hosting(churn={"trafic": {}}),
            "FILE: applications[0].deployments[0].user_config.models.churn: unknown key 'trafic'"
            " (did you mean 'traffic'?), allowed:…",
            id="typo-in-a-model",
        ),
        pytest.param(
            hosting(churn={"traffic": {"champion": 60, "challenger": 50}}),
            "FILE: applications[0].deployments[0].user_config.models.churn.traffic: weights"
            " {champion: 60, challenger: 50} sum to 110, must sum to 100",
            id="weights",
        ),
        pytest.param(
            hosting(churn={"max_batch_size": "big"}),
            "FILE: applications[0].deployments[0].user_config.models.churn.max_batch_size: 'big':"
            " should be a whole number",
            id="wrong-type",
        ),
        pytest.param(
            hosting(fraud={}),
            "FILE: applications[0].deployments[0].user_config.models.fraud: not in the model"
            " registry at http://registry, registered: bare, churn",
            id="unregistered-model",
        ),
        pytest.param(
            hosting(churn={"traffic": {"champion": 90, "7": 10}}),
            "FILE: applications[0].deployments[0].user_config.models.churn.traffic:"
            " version '7' is not registered",
            id="unregistered-version",
        ),
        pytest.param(
            config(name="churn--v1"),
            "FILE: applications[0].name: 'churn--v1' is how the controller names a version's"
            " application; Serve would delete it with the next config",
            id="names-a-version-s-application",
        ),
        pytest.param(
            config(import_path="other:app"),
            "FILE: applications: import_path is ['other:app'], one must be"
            " 'deployments.fleet:build'",
            id="no-fleet",
        ),
        pytest.param(
            {"applications": []},
            "FILE: applications: import_path is [], one must be 'deployments.fleet:build'",
            id="no-applications",
        ),
        pytest.param(
            config(deployments=[]),
            "FILE: applications[0].deployments: no user_config for the deployment 'Controller';"
            " it names the models, for example {models: {my-model: {}}}",
            id="no-controller",
        ),
        pytest.param(
            config(deployments=[{"name": "Controler"}]),
            "FILE: applications[0].deployments[0].name: 'Controler' is not a deployment of the"
            " fleet, allowed: Controller, Gateway",
            id="misspelt-deployment",
        ),
        pytest.param(
            config() | {"http_options": {"port": "eighty"}},
            "FILE: http_options.port: 'eighty': should be a whole number",
            id="port-is-no-number",
        ),
        pytest.param({"applications": 3}, "FILE: applications: 3: should be a list", id="3"),
        pytest.param(
            hosting(**{"a b": {}}),
            "FILE: applications[0].deployments[0].user_config.models: model name 'a b'…",
            id="model-name",
        ),
        pytest.param(
            config(deployments=[{"name": "Controller", "user_config": [1]}]),
            "FILE: applications[0].deployments[0].user_config: [1]: should be a mapping of keys to"
            " values",
            id="models-are-a-list",
        ),
        pytest.param(
            hosting(churn={"rollout": {"strategy": "canary", "duration_s": 5}}),
            "FILE: applications[0].deployments[0].user_config.models.churn.rollout.duration_s: 5:"
            " is for 'ab', and 'shadow' without steps, the strategy is 'canary'",
            id="setting-of-another-strategy",
        ),
        pytest.param(
            hosting(churn={"rollout": {
                "analysis": {"signals": {"wrong": {"kind": "mistakes"}}}}}),
            "FILE: applications[0].deployments[0].user_config: models.churn.feedback: null: should"
            " be set, such as {}: the rollout's signal 'wrong' of kind 'mistakes' counts nothing"
            " else",
            id="mistakes-without-feedback",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_one_line(validate: Any, content: Any, line: str) -> None:
    status, said = validate(content)

    assert status == 2
    # Lists of what is allowed are Serve's and pydantic's affair: "…" stands for them.
    start, cut, _ = line.partition("…")
    assert said.startswith(start) if cut else said == line
    assert "\n" not in said


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(
            {"applications": ["fleet"]},
            "FILE: applications[0]: 'fleet': should be a mapping of keys to values",
            id="application-is-text",
        ),
        pytest.param(
            config(deployments=["Gateway"]),
            "FILE: applications[0].deployments[0]: 'Gateway': should be a mapping with a name",
            id="deployment-is-text",
        ),
        pytest.param(
            config(route_prefix="/x"),
            "FILE: applications[0].route_prefix: '/x': should be '/'",
            id="another-route",
        ),
        pytest.param(
            config(
                deployments=[
                    {"name": "Controller", "num_replicas": 2, "user_config": {"models": {}}}
                ]
            ),
            "FILE: applications[0].deployments[0].num_replicas: 2: should be 1; two controllers"
            " would undo each other's work",
            id="two-controllers",
        ),
        pytest.param(
            config(deployments=[{"name": "Controller", "autoscaling_config": {}}]),
            "FILE: applications[0].deployments[0].autoscaling_config: the Controller takes"
            " none; two controllers would undo each other's work",
            id="controllers-by-load",
        ),
        pytest.param(
            config(deployments=[{"name": "Controller", "user_config": {"models": {}}}] * 2),
            "FILE: applications[0].deployments[1].name: 'Controller' stands twice",
            id="controller-twice",
        ),
        pytest.param(
            hosting(churn={"traffic": {1: 50, "1": 50}}),
            "FILE: applications[0].deployments[0].user_config.models.churn.traffic: [1, '1']: a"
            " version stands twice, as a number and as text",
            id="version-twice",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "user_config": {"models": {}}}]),
            "FILE: applications[0].deployments[0].user_config: the deployment 'Gateway' takes"
            " none; the models stand in that of 'Controller'",
            id="models-at-the-gateway",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "num_replicas": 0}]),
            "FILE: applications[0].deployments[0].num_replicas: 0: should be greater than 0",
            id="no-gateway",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "autoscaling_config": {"min_replicas": -1}}]),
            "FILE: applications[0].deployments[0].autoscaling_config.min_replicas: -1: should be"
            " greater than or equal to 0",
            id="autoscaling-below-nothing",
        ),
        pytest.param(
            config(runtime_env={"env_var": {"A": "1"}}),
            "FILE: applications[0].runtime_env: unknown key 'env_var' (did you mean 'env_vars'?),"
            f" allowed: {RUNTIME_ENV_KEYS}",
            id="typo-in-the-runtime-env",
        ),
        pytest.param(
            hosting(churn={"ray_actor_options": {"runtime_env": {"pips": []}}}),
            f"FILE: {MODELS}.models.churn.ray_actor_options.runtime_env: unknown key 'pips' (did"
            f" you mean 'pip'?), allowed: {RUNTIME_ENV_KEYS}",
            id="typo-in-a-model-s-runtime-env",
        ),
        pytest.param(
            hosting(churn={"ray_actor_options": {"runtime_env": {"env_vars": {"A": 1}}}}),
            f"FILE: {MODELS}.models.churn.ray_actor_options.runtime_env: ['env_vars'] must be of"
            " type Dict[str, str], but the value 1 is of type <class 'int'>",
            id="value-that-ray-refuses",
        ),
        pytest.param(
            hosting(churn={"ray_actor_options": {"runtime_env": {"py_modules": ["./mine"]}}}),
            f"FILE: {MODELS}.models.churn.ray_actor_options.runtime_env: './mine': should be an"
            " address that every node can reach, such as s3://BUCKET/CODE.zip",
            id="code-on-this-machine-alone",
        ),
        pytest.param(
            hosting(chrun={}),
            f"FILE: {MODELS}.models.chrun: not in the model registry at http://registry (did you"
            " mean 'churn'?), registered: bare, churn",
            id="misspelt-model",
        ),
        pytest.param(
            hosting(churn={"runtime": "torch"}),
            f"FILE: {MODELS}.models.churn.runtime: 'torch': cannot run version 1, allowed: auto,"
            " sklearn, pyfunc",
            id="runtime-of-another-framework",
        ),
        pytest.param(
            hosting(churn={"torch": {"half_precision": "bfloat16"}}),
            f"FILE: {MODELS}.models.churn.torch: version 1 runs in 'sklearn', which reads none of"
            " it",
            id="torch-settings-of-another-framework",
        ),
        pytest.param(
            hosting(churn={"gpu_memory_mib": 4096, "ray_actor_options": {"num_gpus": 0.5}}),
            f"FILE: {MODELS}.models.churn.gpu_memory_mib: version 1 runs in 'sklearn', which takes"
            " no GPU",
            id="gpu-memory-of-another-framework",
        ),
        pytest.param(
            hosting(
                churn={
                    "runtime": "pyfunc",
                    "gpu_memory_mib": 7000,
                    "ray_actor_options": {"num_gpus": 0.25, "accelerator_type": "L4"},
                }
            ),
            f"FILE: {MODELS}.models.churn: gpu_memory_mib 7000: above the share of num_gpus 0.25"
            " in L4, 24576 MiB, which is 6144 MiB; lower it, or raise num_gpus",
            id="gpu-memory-above-its-share",
        ),
        pytest.param(
            hosting(churn={"traffic": {"champoin": 100}}),
            f"FILE: {MODELS}.models.churn.traffic: no version has the alias 'champoin' (did you"
            " mean 'champion'?), aliases: champion",
            id="misspelt-alias",
        ),
        pytest.param(
            hosting(churn={"traffic": {"champion": 90, "chalenger": 10}}),
            f"FILE: {MODELS}.models.churn.traffic: no version has the alias 'chalenger',"
            " aliases: champion",
            id="misspelt-alias-of-the-canary",
        ),
        pytest.param(
            hosting(churn={"mirror": {"shadoww": 100}}),
            f"FILE: {MODELS}.models.churn.mirror: no version has the alias 'shadoww',"
            " aliases: champion",
            id="misspelt-alias-of-a-shadow",
        ),
        pytest.param(
            hosting(churn={"mirror": {7: 100}}),
            f"FILE: {MODELS}.models.churn.mirror: version '7' is not registered",
            id="mirrored-version-that-is-not-there",
        ),
        pytest.param(
            hosting(bare={}),
            f"FILE: {MODELS}.models.bare.traffic: no version has the alias 'champion',"
            " aliases: none",
            id="no-champion",
        ),
        pytest.param(
            config(args={"store_url": "nope"}),
            f"FILE: applications[0].args.store_url: 'nope', allowed: {STORES}",
            id="store-without-a-scheme",
        ),
        pytest.param(
            config(args={"store_url": "mysql://u:secret@h/d"}),
            f"FILE: applications[0].args.store_url: 'mysql://u:***@h/d', allowed: {STORES}",
            id="store-of-another-kind",
        ),
        pytest.param(
            config(args={"store_url": "sqlite:///rel.db"}),
            "FILE: applications[0].args.store_url: 'sqlite:///rel.db': should be an absolute path",
            id="store-in-whatever-folder",
        ),
        pytest.param(
            config(args={"store_url": f"postgresql://u:secret@127.0.0.1:{PORT}/d"}),
            f"FILE: applications[0].args.store_url: 'postgresql://u:***@127.0.0.1:{PORT}/d': cannot"
            " be reached: (psycopg.OperationalError) connection failed: connection to server at"
            f' "127.0.0.1", port {PORT} failed: Connection refused',
            id="store-that-is-away",
        ),
        pytest.param(
            config(
                deployments=[{"name": "Gateway", "num_replicas": 1, "gang_scheduling_config": True}]
            ),
            "FILE: Serve cannot read it: AttributeError: 'bool' object has no attribute"
            " 'gang_size'",
            id="what-serve-stumbles-over",
        ),
        pytest.param(
            config(runtime_env={"working_dir": 5}),
            "FILE: applications[0].runtime_env: `working_dir` must be a string, got <class 'int'>.",
            id="code-that-is-no-address",
        ),
        pytest.param(
            config(
                deployments=[
                    {
                        "name": "Gateway",
                        "autoscaling_config": {"policy": {"policy_function": "nope:x"}},
                    }
                ]
            ),
            "FILE: Serve cannot read it: ModuleNotFoundError: No module named 'nope'",
            id="policy-that-is-not-there",
        ),
        pytest.param(
            config() | {"http_options": {"port": True}},
            "FILE: http_options.port: true: should be a number",
            id="boolean-as-a-port",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "num_replicas": True}]),
            "FILE: applications[0].deployments[0].num_replicas: true: should be a number",
            id="boolean-as-a-number-of-replicas",
        ),
        pytest.param(
            config() | {"http_options": {"request_timeout_s": float("nan")}},
            "FILE: http_options.request_timeout_s: nan: should be a number",
            id="time-that-is-no-number",
        ),
        pytest.param(
            config(
                deployments=[
                    {"name": "Gateway", "ray_actor_options": {"runtime_env": {"bogus": 1}}}
                ]
            ),
            "FILE: applications[0].deployments[0].ray_actor_options.runtime_env: unknown key"
            f" 'bogus', allowed: {RUNTIME_ENV_KEYS}",
            id="typo-in-a-deployment-s-runtime-env",
        ),
        pytest.param(
            hosting(churn={"traffic": {"01": 100}}),
            f"FILE: {MODELS}.models.churn.traffic: no version has the alias '01', aliases:"
            " champion",
            id="version-with-a-leading-zero",
        ),
        pytest.param(
            config(args={"store_url": "sqlite:////no/such/folder/fleet.db"}),
            "FILE: applications[0].args.store_url: 'sqlite:////no/such/folder/fleet.db':"
            " there is no folder '/no/such/folder'",
            id="store-in-no-folder",
        ),
        pytest.param(
            "",
            "FILE: holds no keys, allowed: a fleet config (applications: ...), a sweep"
            " (name: ...) or a selection (model: ...)",
            id="empty-file",
        ),
        pytest.param(
            {"name": "best", "model": "iris", "filters": ["accuracy > 1"]},
            "FILE: filters[0]: 'accuracy > 1': no condition, allowed: metrics.NAME >= 0.9,"
            " params.NAME = 'text', tags.NAME LIKE 'a%'; with any of =, !=, >, >=, <, <=, LIKE,"
            " ILIKE, IN, NOT IN",
            id="selection",
        ),
    ],
)
def test_what_serve_would_accept_or_stumble_over_is_refused(
    validate: Any, content: Any, line: str
) -> None:
    assert validate(content) == (2, line)
