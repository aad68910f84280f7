"""`rayfleet validate` says each fault in one line, and never shows a traceback."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import cli, validation
from deployments.controller.decide import RegistryView, VersionFacts
from deployments.haproxy import free_port
from deployments.validation import validate_fleet
from tests.fakes import SIGNATURE

PORT = free_port()


MODELS = "applications[0].deployments[0].user_config"
RUNTIME_ENV_KEYS = (
    "conda, config, container, env_vars, excludes, image_uri, java_jars, pip, py_executable,"
    " py_modules, uv, worker_process_setup_hook, working_dir"
)
STORES = "sqlite:////FOLDER/FILE or postgresql://USER@HOST/DATABASE"


class FakeRegistry:
    """Knows the model `churn` with one version, its champion, and `bare` without aliases."""

    def __init__(self, *_: str) -> None:
        pass

    def look(self, _: object) -> RegistryView:
        facts = {("churn", "1"): VersionFacts("sklearn", SIGNATURE, native="sklearn")}
        return RegistryView({"churn": {"champion": "1"}, "bare": {}}, facts, answered=True)


class SilentRegistry(FakeRegistry):
    """A server that is not there."""

    def look(self, _: object) -> RegistryView:
        raise ConnectionError("connection refused\nand a long story")


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setattr(validation, "Registry", FakeRegistry)


def config(**changes: Any) -> dict[str, Any]:
    """The smallest fleet, with parts of its `fleet` application replaced."""
    application = {
        "name": "fleet",
        "route_prefix": "/",
        "import_path": "deployments.fleet:build",
        "deployments": [{"name": "Controller", "user_config": {"models": {"churn": {}}}}],
    }
    return {
        "http_options": {"host": "127.0.0.1", "port": PORT},
        "applications": [application | changes],
    }


def hosting(**models: Any) -> dict[str, Any]:
    return config(deployments=[{"name": "Controller", "user_config": {"models": models}}])


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command on a config; returns its status and what it says, the path as FILE."""
    path = tmp_path / "fleet.yaml"

    def run(content: Any, *options: str) -> tuple[int, str]:
        if content is not None:
            path.write_text(
                content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
            )
        status = cli.main(["validate", *options, str(path)])
        captured = capsys.readouterr()
        return status, (captured.out + captured.err).replace(str(path), "FILE").strip()

    return run


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
            "FILE: http_options.port: True: should be a number",
            id="boolean-as-a-port",
        ),
        pytest.param(
            config(deployments=[{"name": "Gateway", "num_replicas": True}]),
            "FILE: applications[0].deployments[0].num_replicas: True: should be a number",
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
            "FILE: holds no keys, allowed: a fleet config (applications: ...) or a sweep"
            " (name: ...)",
            id="empty-file",
        ),
    ],
)
def test_what_serve_would_accept_or_stumble_over_is_refused(
    validate: Any, content: Any, line: str
) -> None:
    assert validate(content) == (2, line)


def test_one_file_s_addresses_are_not_the_next_one_s_defaults(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writing(FakeRegistry):
        def __init__(self, tracking_uri: str, registry_uri: str) -> None:
            super().__init__()
            os.environ["MLFLOW_TRACKING_URI"] = tracking_uri  # as MLflow does
            os.environ["MLFLOW_REGISTRY_URI"] = registry_uri

    monkeypatch.setattr(validation, "Registry", Writing)

    validate(config(args={"tracking_uri": "http://elsewhere"}))

    assert os.environ["MLFLOW_TRACKING_URI"] == "http://registry"
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_a_large_registry_is_not_listed_whole(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(FakeRegistry):
        def look(self, _: object) -> RegistryView:
            return RegistryView({f"m{number:04d}": {} for number in range(5000)}, answered=True)

    monkeypatch.setattr(validation, "Registry", Large)

    _, said = validate(config())

    assert said.endswith(
        "registered: " + ", ".join(f"m{n:04d}" for n in range(20)) + " and 4980 more"
    )


def test_every_fault_of_a_file_is_said(validate: Any) -> None:
    content = hosting(churn={"trafic": {}, "max_batch": 1}, bare={"runtime": "nope"})
    content["applications"][0]["args"] = {"registry_poll_s": 9}

    status, said = validate(content)

    lines = said.splitlines()
    assert (status, len(lines)) == (2, 3)
    assert lines[0].startswith("FILE: applications[0].args.registry_poll_s: 9: should be")
    assert "models.churn: unknown keys 'trafic' (did you mean 'traffic'?), 'max_batch'" in lines[1]
    assert "models.bare.runtime: 'nope': should be" in lines[2]


def test_every_fault_of_a_model_is_said(validate: Any) -> None:
    status, said = validate(hosting(churn={"max_batch_size": 0, "batch_wait_timeout_s": 2}))

    assert (status, len(said.splitlines())) == (2, 2)


def test_a_registry_that_is_away_is_named(validate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "Registry", SilentRegistry)

    status, said = validate(config())

    where = "FILE: applications[0].deployments[0].user_config"
    reason = "the model registry at http://registry cannot be read: connection refused"
    assert (status, said) == (2, f"{where}: {reason}")


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
def test_a_port_in_use_is_refused_unless_the_fleet_runs(validate: Any, as_text: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given: Any = str(port) if as_text else port
        content = config() | {"http_options": {"host": "127.0.0.1", "port": given}}

        status, said = validate(content)

    reason = "Address already in use; free it or change it"
    assert (status, said) == (2, f"FILE: http_options.port: {port} on 127.0.0.1: {reason}")


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("port", [70_000, 0, -1])
def test_a_port_that_cannot_be(validate: Any, port: int, running: bool) -> None:
    content = config() | {"http_options": {"host": "127.0.0.1", "port": port}}

    assert validate(content, *["--running"] * running) == (
        2,
        f"FILE: http_options.port: {port}: should be 1 to 65535",
    )


@pytest.mark.parametrize("running", [False, True])
def test_a_host_that_cannot_be(validate: Any, running: bool) -> None:
    content = config() | {"http_options": {"host": "999.1.1.1", "port": PORT}}

    line = "FILE: http_options.host: '999.1.1.1': no address of that name"
    assert validate(content, *["--running"] * running) == (2, line)


def test_a_host_of_another_machine(validate: Any) -> None:
    content = config() | {"http_options": {"host": "192.0.2.1", "port": PORT}}

    line = "FILE: http_options.host: '192.0.2.1': not an address of this machine"
    assert validate(content) == (2, line)
    assert validate(content, "--running") == (0, "FILE: valid")


def test_a_check_leaves_nothing_behind(
    validate: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    home = tmp_path / "home"
    monkeypatch.setenv("RAYFLEET_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)

    status, said = validate(config())

    line = f"not in the model registry at sqlite:///{home}/mlflow.db, registered: none"
    assert (status, said) == (2, f"FILE: {MODELS}.models.churn: {line}")
    assert not home.exists()


def test_a_running_fleet_s_port_may_be_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = tmp_path / "fleet.yaml"
        options = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        path.write_text(yaml.safe_dump(config() | {"http_options": options}))

        assert cli.main(["validate", "--running", str(path)]) == 0


def test_the_environment_s_store_is_looked_at_too(
    validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYFLEET_STORE", "redis://h")

    line = f"RAYFLEET_STORE: 'redis://h', allowed: {STORES}"
    assert validate(config()) == (2, f"FILE: {line}")


def test_all_files_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(yaml.safe_dump(config()))
    files = [str(tmp_path / "no.yaml"), str(good), str(tmp_path / "none.yaml")]

    status = cli.main(["validate", *files])

    captured = capsys.readouterr()
    assert (status, captured.out) == (2, f"{good}: valid\n")
    assert len(captured.err.splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("applications:\n- &a [*a]\n", id="a-loop"),
        pytest.param("", id="empty"),
        pytest.param("- 1\n", id="a-list"),
        pytest.param("\x00", id="a-control-character"),
        pytest.param("a: !!python/object:os.system {}\n", id="a-tag"),
    ],
)
def test_strange_files_are_refused_without_a_traceback(validate: Any, text: str) -> None:
    status, said = validate(text)

    assert status == 2
    assert said.startswith("FILE:")


def test_models_of_a_valid_config_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(config()))

    assert list(validate_fleet(path).models) == ["churn"]
