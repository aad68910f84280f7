"""Fleet configs with one thing changed, and the registries that they are checked against."""

import random
import socket
from typing import Any

from deployments.controller.facts import RegistryView, VersionFacts
from tests.fakes import SIGNATURE

BLOCK = 3


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def first_of_free_ports() -> int:
    """Where nothing listens, and no client's connection begins: those begin at 32768."""
    blocks = range(20_000, 32_000, BLOCK)
    return next(
        first
        for first in random.sample(blocks, len(blocks))
        if all(map(is_free, range(first, first + BLOCK)))
    )


PORT = first_of_free_ports()
"""And the two after it."""

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


def config(**changes: Any) -> dict[str, Any]:
    """The smallest fleet, with parts of its `fleet` application replaced."""
    args = dict(changes.get("args", {}))
    if isinstance(args.get("express"), dict):
        args["express"] = {"grpc_port": None} | args["express"]
    application: dict[str, Any] = {
        "name": "fleet",
        "route_prefix": "/",
        "import_path": "deployments.fleet:build",
        # The default ports may be in use: perhaps a fleet runs on this machine.
        "args": {"express": None},
        "deployments": [{"name": "Controller", "user_config": {"models": {"churn": {}}}}],
    }
    return {
        "http_options": {"host": "127.0.0.1", "port": PORT},
        "applications": [application | changes | {"args": application["args"] | args}],
    }


def hosting(**models: Any) -> dict[str, Any]:
    """A fleet of these models."""
    return config(deployments=[{"name": "Controller", "user_config": {"models": models}}])


def gateways(**options: Any) -> dict[str, Any]:
    """A fleet whose gateways have options of their own."""
    fleet = config()
    fleet["applications"][0]["deployments"].append({"name": "Gateway", **options})
    return fleet


def speaking_grpc(**options: Any) -> dict[str, Any]:
    """A fleet behind Serve's gRPC port."""
    functions = ["deployments.gateway.grpc_methods.add_to_server"]
    return config() | {"grpc_options": {"grpc_servicer_functions": functions, **options}}


def listening(**options: Any) -> dict[str, Any]:
    """A fleet with other HTTP options."""
    fleet = config()
    fleet["http_options"] |= options
    return fleet
