"""Routes lead to Services, under certificates that cover their hosts."""

from collections.abc import Sequence
from typing import Any

import pytest

from kuberay.checks.objects import Manifest
from kuberay.checks.project import REPOSITORY, Project
from kuberay.checks.routes import check_routes
from tests.kuberay.breaking import (
    GONE,
    HEAD_CONTAINER,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

KUBERNETES = REPOSITORY / "configs" / "kubernetes.yaml"

BROKEN = [
    breaks("Ingress", "fleet", "spec.rules.0.http.paths.0.backend.service.name", "fleet", "fleet:serve", why="backend"),
    breaks("Ingress", "fleet", "spec.rules.0.http.paths.0.backend.service.port.name", "http", ":http", why="port-of-a-backend"),
    breaks("Ingress", "fleet", "spec.tls.0.secretName", "tls", "Secret 'tls'", why="certificate"),
    breaks("Ingress", "fleet", "spec.tls.0.hosts", ["other.example.com"], "no certificate covers it", why="host"),
    breaks("Ingress", "fleet", "spec.rules.0.http.paths.0.path", "/v3", "no gateway answers there", why="path"),
    breaks("Ingress", "fleet", "metadata.annotations", {"nginx.ingress.kubernetes.io/proxy-read-timeout": "30"}, "30 s, the longest request takes 30 s", why="impatient-ingress"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("    args:\n", "    args:\n      request_deadline_s: 60\n"), "35 s, the longest request takes 60 s", why="longer-requests"),
    breaks(*SERVICE, f"{HEAD_CONTAINER}.ports.4.name", "http", "no such Service", why="kuberay's-service"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_routes, changed(development, *change), fault, project)


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "fault"),
    [
        pytest.param("HTTPRoute", "fleet", "spec.rules.0.backendRefs.0.port", 80, "fleet-serve-svc:80", id="port"),
        pytest.param("HTTPRoute", "fleet", "spec.rules.0.matches.1.path.value", "/model", "path '/model': no gateway answers there", id="path"),
        pytest.param("HTTPRoute", "fleet", "spec.rules.0.timeouts.request", "500ms", "timeouts.request: 0.5 s, the longest request takes 30 s", id="impatient"),
        pytest.param("HTTPRoute", "fleet", "spec.rules.0.timeouts", GONE, "is left to the proxy", id="no-timeout"),
        pytest.param("HTTPRoute", "fleet", "spec.parentRefs.0.name", "edge", "no listener", id="gateway"),
        pytest.param("HTTPRoute", "fleet", "spec.parentRefs.0.namespace", "rayfleet", "no listener", id="namespace"),
        pytest.param("Gateway", "clients", "spec.listeners.0.allowedRoutes", GONE, "lets it not in", id="foreign-routes"),
        pytest.param("HTTPRoute", "fleet", "spec.hostnames", ["other.example.com"], "the listener's is another", id="host"),
        pytest.param("Gateway", "clients", "spec.listeners.0.tls.certificateRefs.0.name", "tls", "Secret 'tls'", id="certificate"),
    ],
)  # fmt: skip
def test_a_broken_route_is_caught(
    kind: str, name: str, path: str, value: Any, fault: str,
    production: Sequence[Manifest], project: Project,
) -> None:  # fmt: skip
    broken = changed(production, kind, name, path, value)

    faults = list(map(str, check_routes(broken, project)))

    assert [each for each in faults if fault in each], faults


def test_a_route_without_a_limit_is_patient_enough(
    production: Sequence[Manifest], project: Project
) -> None:
    endless = changed(production, "HTTPRoute", "fleet", "spec.rules.0.timeouts.request", "0s")

    assert list(check_routes(endless, project)) == []
