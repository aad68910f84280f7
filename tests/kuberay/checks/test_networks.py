"""Policies let through what is needed, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kuberay.checks.networks import check_networks
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import GONE, Change, assert_caught, breaks, broken_copies, changed

BROKEN = [
    breaks("NetworkPolicy", "default-deny", "spec.policyTypes", ["Ingress"], "none denies", why="no-denial"),
    breaks("NetworkPolicy", "ray-nodes", "spec.egress.0.ports.0.port", 5001, "Deployment/mlflow at port 5000: no policy lets it out", why="out"),
    breaks("NetworkPolicy", "fleet-store", "spec.egress.0.ports.0.port", 5433, "StatefulSet/postgres at port 5432: no policy lets it out", why="out-at-another-port"),
    breaks("NetworkPolicy", "postgres", "spec.ingress.0.from", [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mlflow"}}}], "lets it in", why="in"),
    breaks("NetworkPolicy", "fleet-head", "spec.egress.0.to.0.podSelector.matchLabels", {"a": "b"}, "StatefulSet/redis at port 6379", why="redis"),
    breaks("NetworkPolicy", "submitters", "spec.egress.0.ports.0.port", 10001, "submitter", why="submitter"),
    breaks("NetworkPolicy", "fleet-nodes", "spec.ingress", [], "RayService/fleet, cpu: cannot reach RayService/fleet, headgroup at port 6379: no policy lets it in", why="nodes"),
    breaks("NetworkPolicy", "sweep-nodes", "spec.egress", [], "RayJob/sweep, trials: cannot reach RayJob/sweep, headgroup at port 6379: no policy lets it out", why="nodes-of-sweeps"),
    breaks("NetworkPolicy", "mlflow", "spec.egress.1.ports.0.port", 443, "StatefulSet/s3 at port 9000", why="s3"),
    breaks("NetworkPolicy", "names", "spec.egress.0.ports", [{"protocol": "TCP", "port": 53}], "the cluster's DNS at port 53 (UDP)", why="names"),
    breaks("NetworkPolicy", "names", "spec.egress.0.to.0.namespaceSelector.matchLabels", {"kubernetes.io/metadata.name": "system"}, "the cluster's DNS", why="namespace-of-the-names"),
    breaks("NetworkPolicy", "ray-heads", "spec.ingress.0.ports.0.port", 8266, "KubeRay's operator: cannot reach RayService/fleet, headgroup at port 8265", why="operator"),
    breaks("NetworkPolicy", "ray-heads", "spec.ingress.0.from.0.namespaceSelector.matchLabels", {"a": "b"}, "KubeRay's operator: cannot reach", why="namespace-of-the-operator"),
    breaks("NetworkPolicy", "ray-heads", "spec.ingress.0.ports.1", {"protocol": "TCP", "port": 10001}, "in at port 10001, which it does not need", why="operator-too-much"),
    breaks("NetworkPolicy", "ray-heads", "spec.egress.0.ports.0.port", 444, "the API server at port 443", why="api-server"),
    breaks("NetworkPolicy", "ray-heads", "spec.egress.0.ports.1", GONE, "the API server at port 6443", why="control-plane"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.ports.0.port", 8000, "a client: cannot reach RayService/fleet, cpu at port 8080", why="clients"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.ports.1", GONE, "a client: cannot reach RayService/fleet, cpu at port 8001", why="grpc-clients"),
    breaks("NetworkPolicy", "clients", "spec.podSelector.matchLabels", {"ray.io/node-type": "head"}, "a client: cannot reach", why="clients-of-the-head"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.from", [], "lets everyone in", why="everyone"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.from.0.namespaceSelector", {}, "lets everyone in", why="every-namespace"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.ports", GONE, "in at every port", why="every-port"),
    breaks("NetworkPolicy", "ray-heads", "spec.ingress.0.from.1", {"ipBlock": {"cidr": "0.0.0.0/0"}}, "lets everyone in", why="every-address"),
    breaks("NetworkPolicy", "monitoring", "spec.ingress.0.ports.0.port", 8080, "Prometheus: cannot reach RayService/fleet, headgroup at port 8090", why="monitoring"),
    breaks("NetworkPolicy", "monitoring-of-gateways", "spec.ingress.0.ports.0.port", 8081, "Prometheus: cannot reach RayService/fleet, cpu at port 8080", why="monitoring-of-gateways"),
    breaks("NetworkPolicy", "mlflow", "spec.ingress.0.from.1", GONE, "someone who registers models: cannot reach", why="registry"),
    breaks("NetworkPolicy", "redis-cleanup", "spec.egress.0.ports.0.port", 6380, "redis-cleanup: cannot reach StatefulSet/redis", why="redis-cleanup"),
    breaks("NetworkPolicy", "redis", "spec.ingress.0.from.1", GONE, "redis-cleanup: cannot reach StatefulSet/redis at port 6379: no policy lets it in", why="redis-cleanup-in"),
    breaks("NetworkPolicy", "ray-nodes", "spec.egress.1", {}, "lets out to everyone at every port", why="out-to-everyone"),
    breaks("NetworkPolicy", "ray-nodes", "spec.egress.1", {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}, "lets somebody out to everyone", why="out-to-every-address"),
    breaks("NetworkPolicy", "fleet-nodes", "spec.egress.0.to.0.podSelector", {}, "StatefulSet/s3 does not need that", why="out-to-every-pod"),
    breaks("NetworkPolicy", "ray-heads", "spec.egress.1", {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "s3"}}}], "ports": [{"port": 9000}]}, "lets out to {'app.kubernetes.io/name': 's3'} at port 9000, which it does not need", why="out-to-a-pod"),
    breaks("NetworkPolicy", "clients", "spec.ingress.0.from.1", {"podSelector": {}}, "at port 8080, which it does not need", why="every-pod"),
    breaks("NetworkPolicy", "mlflow", "spec.ingress.0.from.2", {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}, "lets {'app.kubernetes.io/name': 'redis'} in at port 5000, which it does not need", why="pod-without-need"),
    breaks("NetworkPolicy", "postgres", "spec.ingress.0.from.0.podSelector.matchLabels", {"ray.io/is-ray-node": "yes"}, "RayJob/sweep, trials does not need that", why="sweeps-at-the-store"),
    breaks("NetworkPolicy", "fleet-store", "spec.podSelector.matchLabels", {"ray.io/is-ray-node": "yes"}, "RayCluster/workbench, cpu does not need that", why="sweeps-on-the-way-to-the-store"),
    breaks("NetworkPolicy", "ray-heads", "spec.ingress.0.ports.0.endPort", 10001, "at port 8265 to 10001: name those it needs", why="range-of-ports"),
    breaks("NetworkPolicy", "submitters", "spec.egress.0.to.0.podSelector.matchLabels", {"ray.io/node-type": "worker"}, "wine-on-workbench, submitter: cannot reach RayCluster/workbench", why="submitter-on-a-cluster"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_networks, changed(development, *change), fault, project)


@pytest.mark.parametrize(
    ("name", "path", "value", "fault"),
    [
        pytest.param(
            "upgrade-proxy",
            "spec.ingress.0.ports.0.port",
            443,
            "a client: cannot reach the Gateway of an upgrade at port 80",
            id="clients",
        ),
        pytest.param(
            "upgrade-proxy",
            "spec.egress.1",
            GONE,
            "cannot reach Istio's control plane at port 15012",
            id="control-plane",
        ),
        pytest.param(
            "from-upgrade-proxy",
            "spec.ingress.0.ports.0.port",
            8000,
            "cannot reach RayService/fleet, cpu at port 8080: no policy lets it in",
            id="workers",
        ),
    ],
)
def test_a_way_through_the_gateway_of_an_upgrade_that_is_cut_is_caught(
    name: str,
    path: str,
    value: Any,
    fault: str,
    installations: Mapping[str, Sequence[Manifest]],
    project: Project,
) -> None:
    broken = changed(installations["incremental"], "NetworkPolicy", name, path, value)

    assert [each for each in map(str, check_networks(broken, project)) if fault in each]


def test_a_way_from_a_sweep_s_code_to_the_fleet_is_caught(
    development: Sequence[Manifest], project: Project
) -> None:
    everyone = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    opened = changed(
        development, "NetworkPolicy", "fleet-nodes", "spec.ingress.0.from.0.podSelector", everyone
    )
    opened = changed(
        opened, "NetworkPolicy", "sweep-nodes", "spec.egress.0.to.0.podSelector", everyone
    )

    faults = list(map(str, check_networks(opened, project)))

    assert [
        each
        for each in faults
        if "RayJob/sweep, trials: reaches RayService/fleet, headgroup at port 8265, and with"
        in each
    ]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        pytest.param("postgres", "spec.ingress.0.ports.0.port", "postgres", id="name-of-a-port"),
        pytest.param("fleet-store", "spec.egress.0.ports.0.port", "postgres", id="name-out"),
        pytest.param("postgres", "spec.ingress.0.ports.0.endPort", 5432, id="range-of-one"),
        pytest.param(
            "fleet-store",
            "spec.egress.0.to.1",
            {"ipBlock": {"cidr": "192.0.2.7/32"}},
            id="a-managed-store",
        ),
    ],
)
def test_other_words_for_the_same_are_no_fault(
    name: str, path: str, value: Any, development: Sequence[Manifest], project: Project
) -> None:
    reworded = changed(development, "NetworkPolicy", name, path, value)

    assert list(map(str, check_networks(reworded, project))) == []
