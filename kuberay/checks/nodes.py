"""Whether Ray nodes start where others look for them, with what the fleet and sweeps read."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.configs import deployment, serve_config
from kuberay.checks.objects import (
    Fault,
    Manifest,
    Pod,
    Role,
    environment,
    place,
    pods,
    ray_cluster,
)
from kuberay.checks.project import Project
from kuberay.checks.resources import GPU, quantity
from kuberay.checks.selectors import PROBES, container_ports
from tuning.console import LOG_FORMAT_VARIABLE

PORTS = {"gcs-server": ("port", "6379"), "dashboard": ("dashboard-port", "8265")}
"""Ports of a head by the name that KubeRay looks for: Ray's argument, and its own choice."""

FOR_SWEEPS = ("MLFLOW_TRACKING_URI", "RAYFLEET_HOME", "HOME")
FOR_FLEETS = (*FOR_SWEEPS, "RAYFLEET_STORE", "RAY_gcs_rpc_server_reconnect_timeout_s")

RECONNECT_S = 60
"""Least time for which workers should wait for a new head, seconds: it takes 20 to come."""

LOG_FORMAT = "json"
"""What shippers of logs can read; other lines they leave out."""

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"

IMAGE_USER = 1000
"""Of our Dockerfile; another one has no home and no name."""

LEAST_STORE = "75Mi"
"""Of an object store, or Ray refuses to start."""

LEAST_TMP = "1Gi"
"""Logs and spilled objects."""

LEAST_IDLE_S = 30

BY_NODE = "kubernetes.io/hostname"
SPREAD_OVER = {BY_NODE, "topology.kubernetes.io/zone"}
"""Labels that every node has."""

LEAST_SKEW = 2

OFTEN_S = 30
"""Longest time between two questions of a probe, seconds."""


def check_nodes(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Look at every head and every group of workers."""
    for pod in pods(objects):
        yield from _probes(pod)
        if not pod.is_ray_node:
            continue
        if pod.role is Role.HEAD:
            yield from _head(pod)
        yield from _variables(pod)
        yield from _sizes(pod)
        yield from _placement(pod)
        if pod.spec.get("restartPolicy") != "Never":
            what = f"restartPolicy {pod.spec.get('restartPolicy')}: autoscaler v2 needs Never"
            yield Fault(pod.where, what)
    for manifest in objects:
        cluster = ray_cluster(manifest)
        if cluster is not None:
            yield from _groups(place(manifest), cluster)


def _head(pod: Pod) -> Iterator[Fault]:
    declared = container_ports(pod)
    for name, (param, default) in PORTS.items():
        told = pod.ray_param(param) or default
        if str(declared.get(name)) != told:
            yield Fault(pod.where, f"port {name} is {declared.get(name)}, Ray's {param} is {told}")
    if pod.ray_param("include-dashboard") not in {None, "true"}:
        yield Fault(pod.where, "include-dashboard: KubeRay and jobs talk to the dashboard")


def _variables(pod: Pod) -> Iterator[Fault]:
    said = environment(pod.ray_container)
    is_fleet = pod.owner["kind"] == "RayService"
    for name in FOR_FLEETS if is_fleet else FOR_SWEEPS:
        if name not in said:
            yield Fault(pod.where, f"{name} is not set")
    written = said.get(LOG_FORMAT_VARIABLE)
    if written != LOG_FORMAT:
        yield Fault(pod.where, f"{LOG_FORMAT_VARIABLE} {written!r}: should be {LOG_FORMAT}")
    patience = str(said.get("RAY_gcs_rpc_server_reconnect_timeout_s", RECONNECT_S))
    if float(patience) < RECONNECT_S:
        what = f"RAY_gcs_rpc_server_reconnect_timeout_s {patience}: below {RECONNECT_S}"
        yield Fault(pod.where, f"{what}, workers would not wait for a new head")
    if CALLBACK in said:
        module, _, name = str(said[CALLBACK]).partition(":")
        try:
            found = hasattr(importlib.import_module(module), name)
        except ImportError:
            found = False
        if not found:
            yield Fault(pod.where, f"{CALLBACK}: there is no {said[CALLBACK]}")


def _sizes(pod: Pod) -> Iterator[Fault]:
    store = float(pod.ray_param("object-store-memory") or 0)
    if 0 < store < quantity(LEAST_STORE):
        yield Fault(pod.where, f"object-store-memory {store:.0f} B: Ray needs {LEAST_STORE}")
    for volume in pod.spec.get("volumes", ()):
        disk = volume.get("emptyDir", {})
        is_disk = disk.get("medium") != "Memory" and "sizeLimit" in disk
        if is_disk and quantity(disk["sizeLimit"]) < quantity(LEAST_TMP):
            what = f"volume {volume['name']!r}: sizeLimit {disk['sizeLimit']} is below {LEAST_TMP}"
            yield Fault(pod.where, f"{what}: the pod would be evicted")
    if pod.spec.get("securityContext", {}).get("runAsUser") != IMAGE_USER:
        yield Fault(pod.where, f"runAsUser should be {IMAGE_USER}, the image's")


def _placement(pod: Pod) -> Iterator[Fault]:
    for spread in pod.spec.get("topologySpreadConstraints", ()):
        if spread["topologyKey"] not in SPREAD_OVER:
            what = f"topologyKey {spread['topologyKey']}: should be one of {sorted(SPREAD_OVER)}"
            yield Fault(pod.where, what)
        for label in set(spread.get("matchLabelKeys", ())) - pod.labels.keys():
            yield Fault(pod.where, f"matchLabelKeys: no pod has the label {label}")
        if spread["topologyKey"] == BY_NODE and spread["whenUnsatisfiable"] == "DoNotSchedule":
            yield from _skew(pod, spread)
    is_gateways = pod.owner["kind"] == "RayService" and pod.role is Role.WORKER
    spreads = pod.spec.get("topologySpreadConstraints", ())
    if is_gateways and BY_NODE not in {each["topologyKey"] for each in spreads}:
        what = f"topologySpreadConstraints: none over {BY_NODE}"
        yield Fault(pod.where, f"{what}, so one node may take all gateways along")
    tolerated = {each.get("key") for each in pod.spec.get("tolerations", ())}
    limits = pod.ray_container.get("resources", {}).get("limits", {})
    if GPU in limits and GPU not in tolerated:
        yield Fault(pod.where, f"tolerations: nodes with GPUs wear the taint {GPU}")


def _skew(pod: Pod, spread: Mapping[str, Any]) -> Iterator[Fault]:
    """A constraint that makes workers wait, of which so many always run."""
    skew, least = spread["maxSkew"], (pod.group or {}).get("minReplicas", 0)
    if skew >= least:
        what = f"maxSkew {skew}: one node may have all {least} workers that always run"
        yield Fault(pod.where, what)
    if pod.owner["kind"] == "RayService":
        gateways = deployment(serve_config(pod.owner), "Gateway").get("num_replicas", 1)
        if skew >= gateways:
            what = f"maxSkew {skew}: one node may have all {gateways} gateways"
            yield Fault(pod.where, what)
    # An eligible domain without a pod of ours is the least, whether it has room for one or not.
    if skew < LEAST_SKEW:
        what = f"maxSkew {skew}: one node without room would hold all others at that many workers"
        yield Fault(pod.where, what)


def _probes(pod: Pod) -> Iterator[Fault]:
    for container in pod.containers:
        for kind in PROBES:
            probe: Mapping[str, Any] = container.get(kind, {})
            where = f"{pod.where}, {kind}"
            if probe.get("httpGet", {}).get("scheme", "HTTP") != "HTTP":
                yield Fault(where, "scheme should be HTTP: nobody here speaks TLS to the kubelet")
            if probe.get("periodSeconds", 10) > OFTEN_S:
                yield Fault(where, f"periodSeconds {probe['periodSeconds']} is over {OFTEN_S}")
            if probe and probe.get("failureThreshold", 3) < 2:
                yield Fault(where, "failureThreshold 1: one slow answer would end the pod")


def _groups(where: str, cluster: Mapping[str, Any]) -> Iterator[Fault]:
    groups = cluster.get("workerGroupSpecs", ())
    names = [group["groupName"] for group in groups]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Fault(where, f"groupName {name!r} stands twice")
    for group in groups:
        least, now, most = (group.get(f"{each}eplicas") for each in ("minR", "r", "maxR"))
        if not least <= now <= most:
            what = f"minReplicas {least}, replicas {now}, maxReplicas {most}: should rise"
            yield Fault(f"{where}, {group['groupName']}", what)
        limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
        if GPU in limits and least > 0:
            what = f"minReplicas {least}: GPUs would be paid for that no replica asks for"
            yield Fault(f"{where}, {group['groupName']}", what)
    options = cluster.get("autoscalerOptions", {})
    if cluster.get("enableInTreeAutoscaling") and options.get("version") != "v2":
        yield Fault(where, f"autoscalerOptions.version {options.get('version')}: should be v2")
    if options.get("idleTimeoutSeconds", 60) < LEAST_IDLE_S:
        what = f"idleTimeoutSeconds {options['idleTimeoutSeconds']}: below {LEAST_IDLE_S}"
        yield Fault(where, f"{what}, workers would come and go")
