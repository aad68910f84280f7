"""What KubeRay does with the manifests: start commands, variables, serve configs, jobs.

Source:
    KubeRay 1.7, ray-operator/controllers/ray/common/pod.go: `generateRayStartCommand`,
    `setMissingRayStartParams`, `setContainerEnvVars`, `configureRedisFT`,
    `SetContainerTokenAuthEnvVars`.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import yaml

from kuberay.checks.objects import Manifest, Pod, Role, ray_cluster
from tests.integration.kubelet import Kubelet, Started

GCS_PORT = 6379
DASHBOARD_PORT = 8265


def start_node(kubelet: Kubelet, pod: Pod, name: str, cluster: str) -> Started:
    """Start a head or a worker of a cluster."""
    is_head = pod.role is Role.HEAD
    service = f"{cluster}-head-svc"
    return kubelet.start(
        pod,
        name,
        command=["/bin/bash", "-c", f"ulimit -n 65536; exec {ray_start(pod, service)}"],
        variables=_variables(kubelet, pod, cluster, service),
        service=service if is_head else None,
    )


def ray_start(pod: Pod, service: str) -> str:
    """The command that KubeRay makes of `rayStartParams`."""
    params: dict[str, str] = dict((pod.group or {})["rayStartParams"])
    params["block"] = "true"
    params.setdefault("dashboard-agent-listen-port", "52365")
    if pod.role is Role.HEAD:
        params.setdefault("dashboard-host", "0.0.0.0")
        params["no-monitor"] = "true"
        if _redis(pod):
            params["redis-password"] = "$REDIS_PASSWORD"
    else:
        params["address"] = f"{service}:{GCS_PORT}"
    flags = [
        f"--{name}" if value == "true" else f"--{name}={value}" for name, value in params.items()
    ]
    return " ".join(["ray", "start", *(["--head"] if pod.role is Role.HEAD else []), *flags])


def _variables(kubelet: Kubelet, pod: Pod, cluster: str, service: str) -> dict[str, str]:
    spec = ray_cluster(pod.owner) or {}
    host = "127.0.0.1" if pod.role is Role.HEAD else service
    found = {
        "RAY_ADDRESS": f"{host}:{GCS_PORT}",
        "RAY_PORT": str(GCS_PORT),
        "RAY_CLUSTER_NAME": cluster,
        "RAY_NODE_TYPE_NAME": pod.labels["ray.io/group"],
        "RAY_AUTH_MODE": spec["authOptions"]["mode"],
        "RAY_AUTH_TOKEN": kubelet.secrets[spec["authOptions"]["secretName"]]["auth_token"],
    }
    if pod.owner["kind"] == "RayService":
        found |= {
            "RAY_timeout_ms_task_wait_for_death_info": "0",
            "RAY_gcs_server_request_timeout_seconds": "5",
            "RAY_SERVE_KV_TIMEOUT_S": "5",
        }
    redis = _redis(pod)
    if redis and pod.role is Role.HEAD:
        secret = redis["redisPassword"]["valueFrom"]["secretKeyRef"]
        found |= {
            "RAY_REDIS_ADDRESS": redis["redisAddress"],
            "REDIS_PASSWORD": kubelet.secrets[secret["name"]][secret["key"]],
            "RAY_external_storage_namespace": cluster,
        }
    return found


def _redis(pod: Pod) -> Mapping[str, Any]:
    return dict((ray_cluster(pod.owner) or {}).get("gcsFaultToleranceOptions", {}))


def refusal_of_serve_config(head: Started, service: Manifest) -> str:
    """PUT a RayService's config, as the operator does; returns what the head says against it.

    The operator puts it again two seconds after any error, until the head takes it.
    """
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    try:
        _ask(head, "PUT", json.dumps(config).encode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return repr(error)
    return ""


def applications(head: Started) -> dict[str, str]:
    """Status of each of Serve's applications; none where nobody answers."""
    try:
        answer = json.loads(_ask(head, "GET"))
    except OSError:
        return {}
    return {name: each["status"] for name, each in answer["applications"].items()}


def dashboard_answers(head: Started) -> bool:
    """Whether the head is up: without a token, it says 401."""
    url = f"http://{head.address}:{DASHBOARD_PORT}/api/serve/applications/"
    try:
        with urllib.request.urlopen(url, timeout=5):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _ask(head: Started, method: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(
        f"http://{head.address}:{DASHBOARD_PORT}/api/serve/applications/",
        data=body,
        headers={
            "Authorization": f"Bearer {head.variables['RAY_AUTH_TOKEN']}",
            "Content-Type": "application/json",
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
        return content
