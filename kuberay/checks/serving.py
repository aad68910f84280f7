"""Whether the fleet's pods answer where KubeRay, probes and clients ask, and leave in peace."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.configs import deadline_s, deployment, fleet_args, serve_config
from kuberay.checks.objects import (
    EVERY_ADDRESS,
    Fault,
    Manifest,
    Pod,
    Role,
    environment,
    fits,
    of_kind,
    place,
    pods,
    ray_cluster,
)
from kuberay.checks.project import Project
from kuberay.checks.routes import SERVE_PORT
from kuberay.checks.selectors import PROBES, container_ports

HEALTH = "/-/healthz"
"""A gateway's own, and the path at which KubeRay looks."""

NODE_HEALTH = "/api/healthz"
"""Of Ray's agent on every node, from 2.53 on."""

AGENT_PORT = 52365
"""Ray's own choice, and KubeRay's."""

PATHS = {HEALTH, NODE_HEALTH, "/health"}
"""Paths that exist: a gateway's, a node's, MLflow's."""

REQUIRED = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Serve reads these in the process that starts a node, so every container must have them."""

RECOVERY = "RAY_SERVE_SLOW_STARTUP_WARNING_S"
RECOVERY_S = 30
"""After how long a new head stops replicas that it found and that do not answer it."""

NEW_ADDRESS_S = 60
"""Workers know a new head by its address then: gRPC looks a name up every 30 s at most."""

LEAVING_S = 45.0
"""What a gateway needs to leave beside its last request (`deployments.fleet`)."""

RAYS_DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
RAYS_DRAIN_S = 30.0
"""How long Ray 2.60 drains on SIGTERM, and what says otherwise."""

KUBERAY_METRICS_PORT = "8080"
"""What KubeRay gives Ray where nobody says `metrics-export-port`."""


def check_serving(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Look at the fleet's RayService, and at the ports and probes of every Ray node."""
    for pod in pods(objects):
        yield from _probes(pod)
        if pod.is_ray_node:
            yield from _listeners(pod)
    for service in of_kind(objects, "RayService"):
        mine = [pod for pod in pods([service]) if pod.is_ray_node]
        yield from _environments(place(service), mine)
        yield from _gateways(service, mine)
        yield from _leaving(mine, service)
        yield from _upgrades(service)
        yield from _budgets(service, mine, objects)
    for manifest in objects:
        cluster = ray_cluster(manifest)
        if cluster is not None and cluster.get("authOptions", {}).get("mode") != "token":
            yield Fault(place(manifest), "authOptions: Ray's API is open without mode token")


def _probes(pod: Pod) -> Iterator[Fault]:
    for container in pod.containers:
        where = f"{pod.where}, container {container['name']}"
        # Nobody waits for what stands beside Ray in its pod, such as a shipper of logs.
        is_waited_for = pod.role is Role.NONE or (
            pod.is_ray_node and container is pod.ray_container
        )
        for kind in ("readinessProbe", "livenessProbe"):
            if kind not in container and is_waited_for:
                yield Fault(where, f"{kind} is missing")
        for kind in PROBES:
            asked = container.get(kind, {}).get("httpGet")
            if asked is None:
                continue
            if asked["path"] not in PATHS:
                yield Fault(where, f"{kind}: path {asked['path']!r}: nothing answers there")
            at_agent = asked["path"] == NODE_HEALTH
            if pod.is_ray_node and at_agent != (asked["port"] == AGENT_PORT):
                yield Fault(where, f"{kind}: {asked['path']} is not at port {asked['port']}")


def _listeners(pod: Pod) -> Iterator[Fault]:
    """Two of a pod's servers on one port: one of them fails, or answers in the other's name."""
    ports = [
        (each.get("name"), each["containerPort"])
        for container in pod.containers
        for each in container.get("ports", ())
    ]
    numbers = [number for _, number in ports]
    for name, number in ports:
        if numbers.count(number) > 1:
            yield Fault(pod.where, f"port {number} ({name}) is declared twice")
    metrics = int(pod.ray_param("metrics-export-port") or KUBERAY_METRICS_PORT)
    declared = dict(ports).get("metrics")
    if declared != metrics:
        yield Fault(pod.where, f"port metrics is {declared}, Ray's metrics-export-port {metrics}")


def _environments(where: str, nodes: Sequence[Pod]) -> Iterator[Fault]:
    first = environment(nodes[0].ray_container)
    for pod in nodes:
        variables = environment(pod.ray_container)
        for name, value in REQUIRED.items():
            if variables.get(name) != value:
                yield Fault(pod.where, f"{name} is {variables.get(name)!r}, should be {value!r}")
        patience_s = int(str(variables.get(RECOVERY, RECOVERY_S)))
        if patience_s < NEW_ADDRESS_S:
            what = "a new head would stop replicas that do not know it yet"
            yield Fault(pod.where, f"{RECOVERY} is {patience_s}, below {NEW_ADDRESS_S}: {what}")
        for name in sorted(first.keys() | variables.keys()):
            if first.get(name) != variables.get(name):
                yield Fault(where, f"{name} is not the same in {nodes[0].where} and {pod.where}")


def _gateways(service: Manifest, nodes: Sequence[Pod]) -> Iterator[Fault]:
    config = serve_config(service)
    yield from _arguments(place(service), fleet_args(config))
    ports = _ports_of(config)
    for pod in nodes:
        serve = container_ports(pod).get(SERVE_PORT)
        if serve != ports["express.port"]:
            what = f"port named serve is {serve}, the gateways' is {ports['express.port']}"
            yield Fault(pod.where, what)
        metrics = int(pod.ray_param("metrics-export-port") or KUBERAY_METRICS_PORT)
        for name in (name for name, number in ports.items() if number == metrics):
            yield Fault(pod.where, f"metrics-export-port {metrics} is also {name}")
        if pod.role is Role.WORKER:
            yield from _ready_with_its_gateway(pod)
            grpc = container_ports(pod).get("grpc")
            if grpc != ports["express.grpc_port"]:
                what = f"port named grpc is {grpc}, the gateways' is {ports['express.grpc_port']}"
                yield Fault(pod.where, what)
    if service["spec"].get("excludeHeadPodFromServeSvc") is not True:
        yield Fault(place(service), "excludeHeadPodFromServeSvc: the head has no gateway")
    options = deployment(config, "Gateway")
    if options.get("num_replicas", 1) < 2 or options.get("max_replicas_per_node") != 1:
        yield Fault(place(service), "Gateway: two replicas at least, one on a node, survive a node")


def _arguments(where: str, args: Mapping[str, Any]) -> Iterator[Fault]:
    express, logs = args.get("express") or {}, args.get("logs") or {}
    if express.get("host") != EVERY_ADDRESS:
        yield Fault(where, f"express.host should be {EVERY_ADDRESS}: the Service asks the pod")
    if logs.get("format") != "json":
        yield Fault(where, f"logs.format {logs.get('format')!r}: should be json, as shippers read")


def _ports_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Where the servers of a node listen, by what sets it."""
    args = fleet_args(config)
    express, control = args.get("express") or {}, args.get("control") or {}
    return {
        "express.port": express.get("port", 8080),
        "express.grpc_port": express.get("grpc_port", 8001),
        "control.port": control.get("port", 8081),
        "http_options.port": config.get("http_options", {}).get("port", 8000),
        "grpc_options.port": config.get("grpc_options", {}).get("port", 9000),
        "the dashboard's agent": AGENT_PORT,
    }


def _ready_with_its_gateway(pod: Pod) -> Iterator[Fault]:
    asked = pod.ray_container.get("readinessProbe", {}).get("httpGet", {})
    if asked.get("path") != HEALTH or asked.get("port") != SERVE_PORT:
        yield Fault(pod.where, f"readinessProbe should ask {HEALTH} at the port {SERVE_PORT!r}")


def _leaving(nodes: Sequence[Pod], service: Manifest) -> Iterator[Fault]:
    longest_s = deadline_s(serve_config(service)) + LEAVING_S
    for pod in nodes:
        if pod.role is not Role.WORKER:
            continue
        hook = pod.ray_container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        command = [str(word) for word in hook.get("command", ())]
        if "deployments.leaving" not in command:
            yield Fault(pod.where, "lifecycle.preStop: Ray ends at once without a drain")
            continue
        within_s = float(command[command.index("--within-s") + 1])
        grace_s = pod.spec.get("terminationGracePeriodSeconds", 30)
        # Both in a row: the hook, then what Ray does on SIGTERM.
        drain_s = float(environment(pod.ray_container).get(RAYS_DRAIN, RAYS_DRAIN_S))
        if within_s < longest_s:
            yield Fault(pod.where, f"preStop waits {within_s:g} s, a gateway needs {longest_s:g} s")
        if grace_s <= within_s + drain_s:
            what = f"preStop's {within_s:g} s and Ray's {drain_s:g} s"
            yield Fault(pod.where, f"grace of {grace_s} s ends before {what}")
    delay_s = service["spec"].get("rayClusterDeletionDelaySeconds", 60)
    if delay_s < longest_s:
        what = f"rayClusterDeletionDelaySeconds {delay_s} is shorter than {longest_s:g} s"
        yield Fault(place(service), what)


def _budgets(
    service: Manifest, nodes: Sequence[Pod], objects: Sequence[Manifest]
) -> Iterator[Fault]:
    """For pods of a custom owner, Kubernetes heeds `minAvailable` as a number, and nothing else.

    Source:
        kubernetes.io/docs/tasks/run-application/configure-pdb, "Arbitrary workloads and
        arbitrary selectors".
    """
    workers = [pod for pod in nodes if pod.role is Role.WORKER]
    gateways = deployment(serve_config(service), "Gateway").get("num_replicas", 1)
    budgets = [
        each
        for each in of_kind(objects, "PodDisruptionBudget")
        if any(fits(each["spec"]["selector"], pod.labels) for pod in workers)
    ]
    if not budgets:
        yield Fault(place(service), "no PodDisruptionBudget keeps a gateway when nodes are drained")
    for budget in budgets:
        least = budget["spec"].get("minAvailable")
        if not isinstance(least, int) or not 0 < least < gateways:
            what = f"minAvailable {least!r}: should be a number from 1 to {gateways - 1}"
            yield Fault(place(budget), what)
        # A worker without a gateway is never ready, and would block every drain.
        if budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield Fault(place(budget), "unhealthyPodEvictionPolicy should be AlwaysAllow")


def _upgrades(service: Manifest) -> Iterator[Fault]:
    cluster = service["spec"]["rayClusterConfig"]
    kind = service["spec"].get("upgradeStrategy", {}).get("type")
    if kind not in {"NewCluster", "NewClusterWithIncrementalUpgrade"}:
        yield Fault(place(service), f"upgradeStrategy {kind!r}: changes would not be rolled out")
    if kind == "NewClusterWithIncrementalUpgrade" and not cluster.get("enableInTreeAutoscaling"):
        yield Fault(place(service), "upgradeStrategy: an incremental upgrade needs the autoscaler")
    options = cluster.get("gcsFaultToleranceOptions")
    if not options:
        yield Fault(place(service), "gcsFaultToleranceOptions: a dead head takes the fleet along")
    elif "externalStorageNamespace" in options:
        yield Fault(
            place(service),
            "externalStorageNamespace: old and new cluster of an upgrade would share their state",
        )
    params = cluster["headGroupSpec"]["rayStartParams"]
    host = params.get("dashboard-host", EVERY_ADDRESS)
    if host != EVERY_ADDRESS:
        what = f"dashboard-host {host!r} should be {EVERY_ADDRESS}: the operator asks the pod"
        yield Fault(place(service), what)
    if params.get("num-cpus") != "0":
        yield Fault(place(service), "num-cpus of the head should be 0: replicas would run there")
