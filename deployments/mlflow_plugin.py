"""`mlflow deployments -t rayfleet`: a running fleet, as MLflow's deployment commands see it.

A deployment is a registered model that the fleet hosts, under its registered name. What the
fleet's config lists is shown and predicts, but is changed in the config alone.
"""

import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import yaml
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from deployments.protocols.mlflow_writing import write_inputs

TARGET = "rayfleet"

DEFAULT_ADDRESS = "127.0.0.1:8081"

URL_VARIABLE = "RAYFLEET_URL"
"""Address of an inference door, where the one that the fleet names cannot be reached."""

MODEL_URI = re.compile(
    r"models:/(?P<name>[^/@]+)(?:/(?P<version>[1-9][0-9]*)|@(?P<alias>[^/@]+))?\Z"
)

RUNTIMES = {
    "sklearn": "sklearn",
    "pytorch": "torch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "python_function": "pyfunc",
}
"""Runtime by MLflow flavor."""

FLAVORS = {runtime: flavor for flavor, runtime in RUNTIMES.items() if flavor != "keras"}
"""And back: what MLflow calls the runtime's flavor."""

READY_TIMEOUT_S = 300.0
POLL_S = 0.5
REQUEST_TIMEOUT_S = 60.0

ERROR_CODES = {
    400: codes.INVALID_PARAMETER_VALUE,
    404: codes.RESOURCE_DOES_NOT_EXIST,
    409: codes.RESOURCE_CONFLICT,
    503: codes.TEMPORARILY_UNAVAILABLE,
}


def target_help() -> str:
    """What `mlflow deployments help -t rayfleet` shows."""
    return f"""\
Target: rayfleet, or rayfleet://HOST:PORT of the control API (default {DEFAULT_ADDRESS}).

The name of a deployment is the registered model's. The model URI is models:/NAME for the
version with the alias champion, models:/NAME@ALIAS, or models:/NAME/VERSION.

Config (-C KEY=VALUE) takes what a model's entry in the fleet config takes; a dot leads into
a mapping, and values are read as YAML:
    -C num_replicas=2 -C ray_actor_options.num_cpus=0.5 -C transport=direct

Predictions go to the fleet's express port, or to {URL_VARIABLE} where that is set.
"""


def run_local(
    target: str,
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Refuse: a fleet is started by `rayfleet serve`, and hosts more than one model."""
    raise MlflowException(
        "a fleet is not started through MLflow: run `rayfleet serve`, then"
        f" `mlflow deployments create -t {target} --name {name} -m {model_uri}`",
        codes.INVALID_PARAMETER_VALUE,
    )


class RayfleetClient(BaseDeploymentClient):
    """A running fleet's control API."""

    def __init__(self, target_uri: str) -> None:
        """Address a fleet.

        Args:
            target_uri: `rayfleet`, or `rayfleet://HOST:PORT`.
        """
        super().__init__(target_uri)  # type: ignore[no-untyped-call]
        self._api = f"http://{urlsplit(target_uri).netloc or DEFAULT_ADDRESS}/api/v1"

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Host a registered model; returns once it answers, and leaves nothing if it cannot.

        Raises:
            MlflowException: It is hosted already, not registered, or cannot be loaded.
        """
        _require_no_endpoint(endpoint)
        spec = {**_nested(config), **_chosen(name, model_uri), **_runtime(flavor)}
        self._call("POST", "/deployments", {"name": name, "spec": spec})
        try:
            return self._when_ready(name)
        except BaseException:
            self.delete_deployment(name)
            raise

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Change the version or some of the settings; returns once that is ready.

        Raises:
            MlflowException: It is not hosted, or the fleet's config owns it.
        """
        _require_no_endpoint(endpoint)
        chosen = _chosen(name, model_uri) if model_uri is not None else {}
        spec = _merged(self.get_deployment(name)["spec"], _nested(config))
        spec |= {**chosen, **_runtime(flavor)}
        self._call("PUT", f"/deployments/{quote(name, safe='')}", {"spec": spec})
        return self._when_ready(name)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Host a model no longer; one that is not hosted is no error, as MLflow wants it.

        Raises:
            MlflowException: The fleet's config owns it.
        """
        _require_no_endpoint(endpoint)
        try:
            self._call("DELETE", f"/deployments/{quote(name, safe='')}")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Every hosted model with its versions."""
        _require_no_endpoint(endpoint)
        return list(self._call("GET", "/deployments")["deployments"])

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """One hosted model with its versions.

        Raises:
            MlflowException: It is not hosted.
        """
        _require_no_endpoint(endpoint)
        return dict(self._call("GET", f"/deployments/{quote(name, safe='')}"))

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: Any = None,
        endpoint: str | None = None,
    ) -> PredictionsResponse:
        """Have a model answer.

        Args:
            deployment_name: A hosted model.
            inputs: A data frame, an array, or a mapping of names to arrays or lists.
            endpoint: Not supported.

        Raises:
            MlflowException: The fleet refuses, or the model raised.
        """
        _require_no_endpoint(endpoint)
        if deployment_name is None:
            raise MlflowException("name a deployment", codes.INVALID_PARAMETER_VALUE)
        door = os.environ.get(URL_VARIABLE) or self._call("GET", "/fleet")["inference_url"]
        if door is None:
            raise MlflowException(
                f"the fleet has no express port; set {URL_VARIABLE} to its HTTP address",
                codes.INVALID_PARAMETER_VALUE,
            )
        url = f"{door.rstrip('/')}/models/{quote(deployment_name, safe='')}/invocations"
        text = _request("POST", url, _payload(inputs)).decode()
        predictions: PredictionsResponse = PredictionsResponse.from_json(text)  # type: ignore[no-untyped-call]
        return predictions

    def _when_ready(self, name: str) -> dict[str, Any]:
        give_up_at_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            found = self.get_deployment(name)
            if found["fault"]:
                # Replicas of before may answer on.
                raise MlflowException(found["fault"], codes.INTERNAL_ERROR)
            # Until then the versions are those of before, and so is what they say.
            versions = found["versions"] if found["in_force"] else []
            failed = [each for each in versions if each["state"] == "UNAVAILABLE"]
            if failed:
                reason = f"version {failed[0]['version']}: {failed[0]['reason']}"
                raise MlflowException(f"{name} cannot be loaded: {reason}", codes.INTERNAL_ERROR)
            loading = any(version["state"] == "LOADING" for version in versions)
            if versions and found["ready"] and not loading:
                # MLflow's command line prints it.
                return {**found, "flavor": FLAVORS[versions[-1]["runtime"]]}
            if time.monotonic() > give_up_at_s:
                raise MlflowException(
                    f"{name} is not ready after {READY_TIMEOUT_S:g} s", codes.INTERNAL_ERROR
                )
            time.sleep(POLL_S)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        content = orjson.dumps(body) if body is not None else None
        answer = _request(method, self._api + path, content)
        return orjson.loads(answer) if answer else None


def _request(method: str, url: str, content: bytes | None) -> bytes:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=content, headers=headers, method=method)  # noqa: S310, the user's own address
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        code = ERROR_CODES.get(error.code, codes.INTERNAL_ERROR)
        raise MlflowException(_message(error.read()), code) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise MlflowException(
            f"no fleet answers at {url}: {reason}", codes.TEMPORARILY_UNAVAILABLE
        ) from None


def _message(body: bytes) -> str:
    try:
        found = orjson.loads(body)
        return str(found.get("error") or found.get("message") or found)
    except (orjson.JSONDecodeError, AttributeError):
        return body.decode(errors="replace")


def _chosen(name: str, model_uri: str) -> dict[str, Any]:
    """The traffic that a model URI asks for."""
    found = MODEL_URI.match(model_uri)
    if found is None:
        raise MlflowException(
            f"model URI {model_uri!r}: should be models:/NAME, models:/NAME/VERSION or"
            " models:/NAME@ALIAS; register other models first (mlflow.register_model)",
            codes.INVALID_PARAMETER_VALUE,
        )
    if found["name"] != name:
        raise MlflowException(
            f"name {name!r}: should be the registered model's, {found['name']!r}",
            codes.INVALID_PARAMETER_VALUE,
        )
    return {"traffic": {found["version"] or found["alias"] or "champion": 100}}


def _runtime(flavor: str | None) -> dict[str, str]:
    if flavor is None:
        return {}
    if flavor not in RUNTIMES:
        raise MlflowException(
            f"flavor {flavor!r}: should be one of {', '.join(sorted(RUNTIMES))}",
            codes.INVALID_PARAMETER_VALUE,
        )
    return {"runtime": RUNTIMES[flavor]}


def _nested(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings from flat keys with dots and, on the command line, values as text."""
    settings: dict[str, Any] = {}
    for key, value in (config or {}).items():
        *path, last = key.split(".")
        place = settings
        for part in path:
            place = place.setdefault(part, {})
        try:
            place[last] = yaml.safe_load(value) if isinstance(value, str) else value
        except yaml.YAMLError:
            raise MlflowException(
                f"config {key}={value!r}: is not YAML", codes.INVALID_PARAMETER_VALUE
            ) from None
    return settings


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for key, value in changes.items():
        known = merged.get(key)
        both = isinstance(known, dict) and isinstance(value, dict) and key != "traffic"
        merged[key] = _merged(known, value) if both and known is not None else value
    return merged


def _payload(inputs: Any) -> bytes:
    try:
        return write_inputs(inputs)
    except (TypeError, ValueError) as error:
        raise MlflowException(
            f"inputs have no JSON form: {error}", codes.INVALID_PARAMETER_VALUE
        ) from None


def _require_no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise MlflowException(
            f"endpoint {endpoint!r}: a fleet has none, leave it out", codes.INVALID_PARAMETER_VALUE
        )
