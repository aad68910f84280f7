"""Whether the NetworkPolicies let through what is needed, and nobody from elsewhere beyond it."""

from collections.abc import Iterable, Iterator, Sequence

from kuberay.checks.addresses import GCS_STORE, REGISTRY, addresses
from kuberay.checks.objects import (
    Fault,
    Manifest,
    Pod,
    Role,
    name_of,
    of_kind,
    pods,
    pods_behind,
)
from kuberay.checks.openings import needless
from kuberay.checks.policies import ANY_PORT, End, Way, allowed
from kuberay.checks.project import Project
from kuberay.checks.selectors import REDIS_CLEANUP, UPGRADE_PROXY, container_ports, ports_of

OPERATOR = End("KubeRay's operator", {}, {"rayfleet/operator": "true"})
CLIENTS = End("a client", {}, {"rayfleet/clients": "true"})
MONITORING = End("Prometheus", {}, {"rayfleet/monitoring": "true"})
PUBLISHERS = End("someone who registers models", {}, {"rayfleet/registry": "true"})
"""Ends in namespaces of their own, by the labels that docs/kubernetes.md has for these."""

DNS = End(
    "the cluster's DNS", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}
)
CLEANUP = End("KubeRay's redis-cleanup", REDIS_CLEANUP)
"""A job that removes a deleted cluster's state."""

PROXY = End("the Gateway of an upgrade", UPGRADE_PROXY)
CONTROL_PLANE = End("Istio's control plane", {}, {"kubernetes.io/metadata.name": "istio-system"})

API_SERVER = End("the API server", {}, is_pod=False)
API_SERVER_PORTS = (443, 6443)
"""Of its Service, and of most control planes themselves: networks differ in which they see."""

GCS_PORT = 6379


def check_networks(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Follow every address that a container is given, Ray's own ways, and those of outsiders."""
    policies = list(of_kind(objects, "NetworkPolicy"))
    if not any(_denies_everything(policy) for policy in policies):
        yield Fault("NetworkPolicy", "none denies what no other allows")
    ways = [
        *_to_services(objects), *_among_ray(objects), *_from_outside(objects),
        *_through_proxies(objects), *_to_outside(objects),
    ]  # fmt: skip
    for way in ways:
        what = f"cannot reach {way.target.where} at port {way.port}"
        if way.protocol != "TCP":
            what += f" ({way.protocol})"
        if not allowed(policies, "egress", way):
            yield Fault(way.source.where, f"{what}: no policy lets it out")
        if not allowed(policies, "ingress", way):
            yield Fault(way.source.where, f"{what}: no policy lets it in")
    yield from _unwanted(policies, objects)
    everyone = list(map(_end, pods(objects)))
    for policy in policies:
        yield from needless(policy, ways, everyone)


def _denies_everything(policy: Manifest) -> bool:
    spec = policy["spec"]
    return (
        not spec["podSelector"]
        and set(spec.get("policyTypes", ())) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _end(pod: Pod) -> End:
    return End(pod.where, pod.labels, ports=container_ports(pod))


def _behind(objects: Sequence[Manifest], service: str, port: int) -> Iterator[Pod]:
    """Pods that a Service's port leads to."""
    for each in of_kind(objects, "Service"):
        if name_of(each) == service and port in {entry["port"] for entry in ports_of(each)}:
            yield from pods_behind(each, pods(objects))


def _to_services(objects: Sequence[Manifest]) -> Iterator[Way]:
    for pod in pods(objects):
        for address in addresses(pod):
            for target in _behind(objects, address.host, address.port):
                yield Way(_end(pod), _end(target), address.port)


def _among_ray(objects: Sequence[Manifest]) -> Iterator[Way]:
    """Nodes of one cluster, the submitter of its job."""
    for manifest in objects:
        mine = list(pods([manifest]))
        nodes = [pod for pod in mine if pod.is_ray_node]
        heads = [pod for pod in nodes if pod.role is Role.HEAD]
        for source in nodes:
            for target in nodes:
                port = GCS_PORT if target.role is Role.HEAD else ANY_PORT
                yield Way(_end(source), _end(target), port)
        for submitter in (pod for pod in mine if pod.role is Role.SUBMITTER):
            for head in heads or _chosen_heads(manifest, objects):
                yield from _to_named_ports(head, [(_end(submitter), "dashboard")])


def _unwanted(policies: Sequence[Manifest], objects: Sequence[Manifest]) -> Iterator[Fault]:
    """Ways that must not be, from nodes on which people's code runs to those of the fleet."""
    for way in _to_the_fleet(objects):
        if allowed(policies, "egress", way) and allowed(policies, "ingress", way):
            what = f"reaches {way.target.where} at port {way.port}"
            yield Fault(way.source.where, f"{what}, and with its token all that the fleet may")


def _to_the_fleet(objects: Sequence[Manifest]) -> Iterator[Way]:
    nodes = [pod for pod in pods(objects) if pod.is_ray_node]
    of_fleet = [pod for pod in nodes if pod.owner["kind"] == "RayService"]
    for source in nodes:
        if source in of_fleet:
            continue
        for target in of_fleet:
            for port in {ANY_PORT, GCS_PORT, *container_ports(target).values()}:
                yield Way(_end(source), _end(target), port)


def _chosen_heads(job: Manifest, objects: Sequence[Manifest]) -> Iterator[Pod]:
    """Heads of the cluster that a job runs on without making it."""
    chosen = job["spec"].get("clusterSelector", {}).get("ray.io/cluster")
    for cluster in of_kind(objects, "RayCluster"):
        if name_of(cluster) == chosen:
            yield from (pod for pod in pods([cluster]) if pod.role is Role.HEAD)


def _from_outside(objects: Sequence[Manifest]) -> Iterator[Way]:
    """Ways of those who stand in no manifest."""
    for pod in pods(objects):
        asked: list[tuple[End, str]] = []
        if pod.is_ray_node:
            asked.append((MONITORING, "metrics"))
        if pod.role is Role.HEAD:
            asked.append((OPERATOR, "dashboard"))
        if pod.role is Role.WORKER and pod.owner["kind"] == "RayService":
            asked += [(MONITORING, "serve"), (CLIENTS, "serve"), (CLIENTS, "grpc")]
        yield from _to_named_ports(pod, asked)
        for address in addresses(pod):
            source = {REGISTRY: PUBLISHERS, GCS_STORE: CLEANUP}.get(address.name)
            if source is not None:
                for target in _behind(objects, address.host, address.port):
                    yield Way(source, _end(target), address.port)


def _through_proxies(objects: Sequence[Manifest]) -> Iterator[Way]:
    """From clients through the Gateway that KubeRay makes for an incremental upgrade."""
    for service in of_kind(objects, "RayService"):
        strategy = service["spec"].get("upgradeStrategy", {}).get("type")
        if strategy != "NewClusterWithIncrementalUpgrade":
            continue
        yield Way(CLIENTS, PROXY, 80)
        yield Way(PROXY, CONTROL_PLANE, 15012)
        for pod in pods([service]):
            if pod.role is Role.WORKER:
                yield from _to_named_ports(pod, [(PROXY, "serve")])


def _to_named_ports(pod: Pod, asked: Iterable[tuple[End, str]]) -> Iterator[Way]:
    """Ways to ports by their names; that a name is missing is another check's matter."""
    ports = container_ports(pod)
    return (Way(source, _end(pod), ports[name]) for source, name in asked if name in ports)


def _to_outside(objects: Sequence[Manifest]) -> Iterator[Way]:
    for pod in pods(objects):
        for protocol in ("UDP", "TCP"):
            yield Way(_end(pod), DNS, 53, protocol)
        for port in API_SERVER_PORTS if pod.scales else ():
            yield Way(_end(pod), API_SERVER, port)
