"""Whether an Ingress, or a route of the Gateway API, leads to a Service with a certificate."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.configs import deadline_s, serve_config
from kuberay.checks.objects import Fault, Manifest, fits, name_of, of_kind, place
from kuberay.checks.project import Project
from kuberay.checks.selectors import ports_of

SERVE_PORT = "serve"
"""The one port that KubeRay keeps of a fleet's Service."""


def check_routes(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Follow every backend and every certificate."""
    there = services(objects)
    fleets = map(serve_config, of_kind(objects, "RayService"))
    longest_s = max(map(deadline_s, fleets), default=0.0)
    for ingress in of_kind(objects, "Ingress"):
        yield from _ingress(ingress, there)
        patience_s = ingress["metadata"].get("annotations", {}).get(NGINX_TIMEOUT, NGINX_TIMEOUT_S)
        yield from _patience(place(ingress), NGINX_TIMEOUT, float(patience_s), longest_s)
    gateways = {
        (each["metadata"].get("namespace"), name_of(each)): each["spec"]["listeners"]
        for each in of_kind(objects, "Gateway")
    }
    for route in of_kind(objects, "HTTPRoute"):
        yield from _route(route, gateways, there)
        for rule in route["spec"]["rules"]:
            said = rule.get("timeouts", {}).get("request")
            if said is None:
                yield Fault(place(route), "timeouts.request: is left to the proxy")
            else:
                # None at all is written as nought.
                patience_s = _seconds(said) or math.inf
                yield from _patience(place(route), "timeouts.request", patience_s, longest_s)
    for where, name in _certificates(objects):
        if name not in project.secrets:
            yield Fault(where, f"Secret {name!r}: nothing makes it")


def services(objects: Sequence[Manifest]) -> dict[str, dict[str, int]]:
    """Ports by name of every Service, those that KubeRay makes included."""
    found = {
        name_of(each): {
            port.get("name", str(port["port"])): port["port"] for port in ports_of(each)
        }
        for each in of_kind(objects, "Service")
    }
    for each in of_kind(objects, "RayService"):
        # KubeRay takes the port named `serve` of the head's container, and no other
        # (BuildServeService in its service.go).
        head = each["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
        ports = {e.get("name"): e["containerPort"] for e in head["containers"][0].get("ports", ())}
        if SERVE_PORT in ports:
            found[f"{name_of(each)}-serve-svc"] = {SERVE_PORT: ports[SERVE_PORT]}
    return found


PATHS = {"/", "/v2", "/models", "/metrics"}
"""Beginnings of what a gateway answers."""

NGINX_TIMEOUT = "nginx.ingress.kubernetes.io/proxy-read-timeout"
NGINX_TIMEOUT_S = 60
"""What nginx takes where nobody says, seconds."""

UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""Of the Gateway API's durations."""


def _seconds(duration: str) -> float:
    parts = re.findall(r"(\d+)(h|ms|m|s)", duration)
    return sum(int(number) * UNITS_S[unit] for number, unit in parts)


def _patience(where: str, what: str, patience_s: float, longest_s: float) -> Iterator[Fault]:
    if patience_s <= longest_s:
        yield Fault(where, f"{what}: {patience_s:g} s, the longest request takes {longest_s:g} s")


def _ingress(ingress: Manifest, there: Mapping[str, Mapping[str, int]]) -> Iterator[Fault]:
    covered = {host for tls in ingress["spec"].get("tls", ()) for host in tls.get("hosts", ())}
    for rule in ingress["spec"]["rules"]:
        if rule.get("host") not in covered:
            yield Fault(place(ingress), f"host {rule.get('host')!r}: no certificate covers it")
        for path in rule["http"]["paths"]:
            if path["path"] not in PATHS:
                yield Fault(place(ingress), f"path {path['path']!r}: no gateway answers there")
            service = path["backend"]["service"]
            ports = there.get(service["name"], {})
            wanted = service["port"].get("name", service["port"].get("number"))
            if wanted not in {*ports.keys(), *ports.values()}:
                what = f"{service['name']}:{wanted}: there is no such Service and port"
                yield Fault(place(ingress), what)


def _route(
    route: Manifest,
    gateways: Mapping[tuple[Any, str], Sequence[Mapping[str, Any]]],
    there: Mapping[str, Mapping[str, int]],
) -> Iterator[Fault]:
    for parent in route["spec"]["parentRefs"]:
        space = parent.get("namespace", route["metadata"].get("namespace"))
        listeners = {each["name"]: each for each in gateways.get((space, parent["name"]), ())}
        listener = listeners.get(parent.get("sectionName"))
        if listener is None:
            yield Fault(place(route), f"parentRefs: no listener {dict(parent)}")
        elif not _lets_in(listener, space, route):
            yield Fault(place(route), f"parentRefs: listener {listener['name']!r} lets it not in")
        elif listener.get("hostname") not in {None, *route["spec"]["hostnames"]}:
            what = f"hostnames {route['spec']['hostnames']}: the listener's is another"
            yield Fault(place(route), f"{what}, {listener['hostname']!r}")
    for rule in route["spec"]["rules"]:
        yield from _rule(place(route), rule, there)


def _rule(
    where: str, rule: Mapping[str, Any], there: Mapping[str, Mapping[str, int]]
) -> Iterator[Fault]:
    for match in rule.get("matches", ()):
        path = match.get("path", {}).get("value", "/")
        if path not in PATHS:
            yield Fault(where, f"path {path!r}: no gateway answers there")
    for backend in rule["backendRefs"]:
        if backend["port"] not in there.get(backend["name"], {}).values():
            what = f"{backend['name']}:{backend['port']}: there is no such Service and port"
            yield Fault(where, what)


def _lets_in(listener: Mapping[str, Any], space: Any, route: Manifest) -> bool:
    """Whether a listener takes routes of a namespace; of its own alone unless it says more."""
    own = route["metadata"].get("namespace")
    allowed = listener.get("allowedRoutes", {}).get("namespaces", {"from": "Same"})
    if allowed["from"] == "Selector":
        return fits(allowed.get("selector"), {"kubernetes.io/metadata.name": str(own)})
    return bool(allowed["from"] == "All" or own == space)


def _certificates(objects: Sequence[Manifest]) -> Iterator[tuple[str, str]]:
    """Who names which Secret."""
    for ingress in of_kind(objects, "Ingress"):
        for tls in ingress["spec"].get("tls", ()):
            yield place(ingress), tls["secretName"]
    for gateway in of_kind(objects, "Gateway"):
        for listener in gateway["spec"]["listeners"]:
            for certificate in listener.get("tls", {}).get("certificateRefs", ()):
                yield place(gateway), certificate["name"]
