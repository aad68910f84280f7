"""Whether what is referred to exists: Secrets, ConfigMaps, volumes, accounts, ports, labels."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import Fault, Manifest, Pod, fits, name_of, of_kind, place, pods
from kuberay.checks.project import Project

MADE_BY_KUBERAY = ({"ray.io/node-type": "redis-cleanup"},)
"""Labels of pods that stand in no manifest."""

SERVE_PORT = "serve"


def check_references(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Look up every name."""
    for pod in pods(objects):
        yield from _sources(pod, objects, project)
        yield from _volumes(pod, objects)
        account = pod.spec.get("serviceAccountName")
        if account not in _names(objects, "ServiceAccount"):
            yield Fault(pod.where, f"serviceAccountName {account!r}: there is no such account")
    yield from _accounts_of_roles(objects)
    yield from _secrets_of_clusters(objects, project)
    yield from _selectors(objects)
    yield from _ports_of_services(objects)
    yield from _backends(objects, project)


def services(objects: Sequence[Manifest]) -> dict[str, dict[str, int]]:
    """Ports by name of every Service, those that KubeRay makes included."""
    found = {
        name_of(each): {port.get("name", str(port["port"])): port["port"] for port in ports_of(each)}
        for each in of_kind(objects, "Service")
    }
    for each in of_kind(objects, "RayService"):
        # KubeRay takes the port named `serve` of the head's container, and no other
        # (BuildServeService in its service.go).
        head = each["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        ports = {port.get("name"): port["containerPort"] for port in head.get("ports", ())}
        if SERVE_PORT in ports:
            found[f"{name_of(each)}-serve-svc"] = {SERVE_PORT: ports[SERVE_PORT]}
    return found


def ports_of(service: Manifest) -> Sequence[Mapping[str, Any]]:
    """Entries of a Service."""
    return list(service["spec"].get("ports", ()))


def container_ports(pod: Pod) -> dict[str, int]:
    """Ports that a pod's containers declare, by name, and by number as text."""
    found: dict[str, int] = {}
    for container in pod.containers:
        for port in container.get("ports", ()):
            found[str(port["containerPort"])] = port["containerPort"]
            if "name" in port:
                found[port["name"]] = port["containerPort"]
    return found


def _names(objects: Iterable[Manifest], kind: str) -> set[str]:
    return {name_of(each) for each in of_kind(objects, kind)}


def _sources(pod: Pod, objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Values of variables that come from elsewhere."""
    for container in pod.all_containers:
        where = f"{pod.where}, container {container['name']}"
        known: set[str] = set()
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            secret = source.get("secretKeyRef")
            if secret is not None:
                yield from _secret_faults(where, secret, project)
            config = source.get("configMapKeyRef")
            if config is not None and config["name"] not in _names(objects, "ConfigMap"):
                yield Fault(where, f"ConfigMap {config['name']!r}: there is no such ConfigMap")
            # Kubernetes puts in only what stands above, and leaves the rest as it is.
            for name in re.findall(r"\$\((\w+)\)", str(variable.get("value", ""))):
                if name not in known:
                    yield Fault(where, f"{variable['name']}: $({name}) is not set above it")
            known.add(variable["name"])
        words = [*container.get("command", ()), *container.get("args", ())]
        for name in re.findall(r"\$\((\w+)\)", " ".join(map(str, words))):
            if name not in known:
                yield Fault(where, f"$({name}): there is no such variable")
        for source in container.get("envFrom", ()):
            for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                name = source.get(key, {}).get("name")
                there = project.secrets if kind == "Secret" else _names(objects, kind)
                if name is not None and name not in there:
                    yield Fault(where, f"{kind} {name!r}: there is no such {kind}")


def _secret_faults(where: str, reference: Mapping[str, Any], project: Project) -> Iterator[Fault]:
    name, key = reference["name"], reference["key"]
    if name not in project.secrets:
        yield Fault(where, f"Secret {name!r}: nothing makes it, known: {sorted(project.secrets)}")
    elif key not in project.secrets[name]:
        yield Fault(where, f"Secret {name!r} has no key {key!r}: {sorted(project.secrets[name])}")


def _secrets_of_clusters(objects: Iterable[Manifest], project: Project) -> Iterator[Fault]:
    """Secrets that KubeRay itself hands to Ray."""
    for manifest in objects:
        for path, value in _walk(manifest.get("spec", {})):
            if path.endswith("authOptions.secretName"):
                # KubeRay reads this key (SetContainerTokenAuthEnvVars in its pod.go).
                reference = {"name": value, "key": "auth_token"}
                yield from _secret_faults(place(manifest), reference, project)
            elif path.endswith("redisPassword.valueFrom.secretKeyRef"):
                yield from _secret_faults(place(manifest), value, project)


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, f"{path}.{key}")


def _volumes(pod: Pod, objects: Sequence[Manifest]) -> Iterator[Fault]:
    claims = {
        each["metadata"]["name"] for each in pod.owner["spec"].get("volumeClaimTemplates", ())
    }
    volumes = {each["name"]: each for each in pod.spec.get("volumes", ())}
    for container in pod.all_containers:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes.keys() | claims:
                where = f"{pod.where}, container {container['name']}"
                yield Fault(where, f"volume {mount['name']!r}: there is no such volume")
    for name, volume in volumes.items():
        for kind, key, field in (
            ("ConfigMap", "configMap", "name"),
            ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
        ):
            target = volume.get(key, {}).get(field)
            if target is not None and target not in _names(objects, kind):
                yield Fault(pod.where, f"volume {name!r}: there is no {kind} {target!r}")


def _accounts_of_roles(objects: Sequence[Manifest]) -> Iterator[Fault]:
    for binding in of_kind(objects, "RoleBinding"):
        role = binding["roleRef"]["name"]
        if role not in _names(objects, binding["roleRef"]["kind"]):
            yield Fault(place(binding), f"roleRef {role!r}: there is no such role")
        for subject in binding.get("subjects", ()):
            if subject["name"] not in _names(objects, "ServiceAccount"):
                yield Fault(place(binding), f"subject {subject['name']!r}: no such account")


def _selectors(objects: Sequence[Manifest]) -> Iterator[Fault]:
    everyone = [*(pod.labels for pod in pods(objects)), *MADE_BY_KUBERAY]

    def chosen(where: str, selector: Mapping[str, Any]) -> Iterator[Fault]:
        if not any(fits(selector, labels) for labels in everyone):
            yield Fault(where, f"selector {dict(selector)}: fits no pod")

    for each in of_kind(objects, "Service", "PodDisruptionBudget"):
        yield from chosen(place(each), each["spec"]["selector"])
    for each in of_kind(objects, "NetworkPolicy"):
        yield from chosen(place(each), each["spec"]["podSelector"])
        for rule in [*each["spec"].get("ingress", ()), *each["spec"].get("egress", ())]:
            for peer in [*rule.get("from", ()), *rule.get("to", ())]:
                if "namespaceSelector" not in peer and "podSelector" in peer:
                    yield from chosen(place(each), peer["podSelector"])
    for pod in pods(objects):
        own = pod.owner["spec"].get("selector")
        if own is not None and not fits(own, pod.labels):
            yield Fault(pod.where, f"selector {dict(own)}: does not fit its own pods")
        for spread in pod.spec.get("topologySpreadConstraints", ()):
            if not fits(spread["labelSelector"], pod.labels):
                yield Fault(pod.where, "topologySpreadConstraints: does not fit its own pods")


def _ports_of_services(objects: Sequence[Manifest]) -> Iterator[Fault]:
    everyone = list(pods(objects))
    for service in of_kind(objects, "Service"):
        behind = [pod for pod in everyone if fits(service["spec"]["selector"], pod.labels)]
        for port in ports_of(service):
            target = str(port.get("targetPort", port["port"]))
            for pod in behind:
                if target not in container_ports(pod):
                    yield Fault(place(service), f"port {target!r}: {pod.where} has no such port")
    for pod in everyone:
        for container in pod.containers:
            names = {each.get("name") for each in container.get("ports", ())}
            for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
                probe = container.get(kind, {})
                port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
                if isinstance(port, str) and port not in names:
                    yield Fault(pod.where, f"{kind}: port {port!r}: the container has none")


def _backends(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """What an Ingress or a route points at."""
    there = services(objects)
    for ingress in of_kind(objects, "Ingress"):
        for tls in ingress["spec"].get("tls", ()):
            if tls["secretName"] not in project.secrets:
                yield Fault(place(ingress), f"Secret {tls['secretName']!r}: nothing makes it")
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                ports = there.get(service["name"], {})
                wanted = service["port"].get("name", service["port"].get("number"))
                if wanted not in {*ports.keys(), *ports.values()}:
                    what = f"{service['name']}:{wanted}: there is no such Service and port"
                    yield Fault(place(ingress), what)
    gateways = {name_of(each): each["spec"]["listeners"] for each in of_kind(objects, "Gateway")}
    for name, listeners in gateways.items():
        for listener in listeners:
            for certificate in listener.get("tls", {}).get("certificateRefs", ()):
                if certificate["name"] not in project.secrets:
                    what = f"Secret {certificate['name']!r}: nothing makes it"
                    yield Fault(f"Gateway/{name}", what)
    for route in of_kind(objects, "HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            sections = {each["name"] for each in gateways.get(parent["name"], ())}
            if parent.get("sectionName") not in sections:
                yield Fault(place(route), f"parentRefs: no listener {dict(parent)}")
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if backend["port"] not in there.get(backend["name"], {}).values():
                    what = f"{backend['name']}:{backend['port']}: there is no such Service and port"
                    yield Fault(place(route), what)
