"""Manifests as they are parsed, and the pods that will come of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

Manifest = Mapping[str, Any]
"""One parsed object."""

TMP = "/tmp"  # noqa: S108, a mount
SHARED_MEMORY = "/dev/shm"  # noqa: S108, a mount
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104, of a pod


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that would not work, or not safely."""

    where: str
    """`KIND/NAME`, and the part of it."""

    what: str
    """What is wrong, the value, and what is allowed."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Role(StrEnum):
    """What a pod is to Ray."""

    HEAD = "head"
    WORKER = "worker"

    SUBMITTER = "submitter"
    """Hands a job over to a cluster, and is no node of it."""

    NONE = "none"


@dataclass(frozen=True, slots=True)
class Pod:
    """A template of pods."""

    where: str
    owner: Manifest
    """The object that it stands in."""

    labels: Mapping[str, str]
    """Its own, and those that KubeRay adds."""

    spec: Mapping[str, Any]
    role: Role = Role.NONE
    group: Mapping[str, Any] | None = None
    """KubeRay's group of workers, or its head group."""

    @property
    def containers(self) -> Sequence[Mapping[str, Any]]:
        """Those that run for as long as the pod."""
        return list(self.spec.get("containers", ()))

    @property
    def all_containers(self) -> Sequence[Mapping[str, Any]]:
        """Those that run before, too, and the one that KubeRay adds to a head that scales."""
        return [*self.spec.get("initContainers", ()), *self.containers, *self._autoscaler]

    @property
    def volumes(self) -> Mapping[str, Mapping[str, Any]]:
        """By name."""
        return {each["name"]: each for each in self.spec.get("volumes", ())}

    @property
    def claims(self) -> frozenset[str]:
        """Volumes that its owner makes for each of its pods, and that outlive them."""
        made = self.owner["spec"].get("volumeClaimTemplates", ())
        return frozenset(each["metadata"]["name"] for each in made)

    @property
    def is_ray_node(self) -> bool:
        """Whether it is part of a Ray cluster."""
        return self.role in {Role.HEAD, Role.WORKER}

    @property
    def scales(self) -> bool:
        """Whether an autoscaler runs in it."""
        cluster = ray_cluster(self.owner) or {}
        return self.role is Role.HEAD and bool(cluster.get("enableInTreeAutoscaling"))

    @property
    def _autoscaler(self) -> Sequence[Mapping[str, Any]]:
        # As `BuildAutoscalerContainer` of KubeRay 1.7's pod.go puts it together.
        if not self.scales:
            return ()
        options = (ray_cluster(self.owner) or {}).get("autoscalerOptions", {})
        return ({"name": "autoscaler", "image": self.ray_container.get("image"), **options},)

    @property
    def ray_container(self) -> Mapping[str, Any]:
        """KubeRay starts Ray in the first one."""
        return self.containers[0]

    def ray_param(self, name: str) -> str | None:
        """An argument that KubeRay hands to `ray start`."""
        value: str | None = ((self.group or {}).get("rayStartParams") or {}).get(name)
        return value


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML has it, as its wheels do: fifteen times as quick."""


def load(text: str) -> list[Manifest]:
    """Parse a stream of documents."""
    documents = yaml.load_all(text, Loader=_LOADER)
    return [each for each in documents if each is not None]


def place(manifest: Manifest) -> str:
    """How a fault names an object."""
    return f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"


def of_kind(objects: Iterable[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Those of some kinds."""
    return (each for each in objects if each.get("kind") in kinds)


def names(objects: Iterable[Manifest], kind: str) -> frozenset[str]:
    """Of all objects of a kind."""
    return frozenset(map(name_of, of_kind(objects, kind)))


def name_of(manifest: Manifest) -> str:
    """The name under which others refer to it."""
    return str(manifest["metadata"]["name"])


def ray_cluster(manifest: Manifest) -> Mapping[str, Any] | None:
    """The spec of the RayCluster that an object is, or brings along."""
    spec = manifest.get("spec", {})
    match manifest.get("kind"):
        case "RayCluster":
            return dict(spec)
        case "RayService":
            return dict(spec["rayClusterConfig"])
        case "RayJob":
            return spec.get("rayClusterSpec")  # type: ignore[no-any-return]
        case "RayCronJob":
            return spec["jobTemplate"].get("rayClusterSpec")  # type: ignore[no-any-return]
    return None


def pods(objects: Iterable[Manifest]) -> Iterator[Pod]:
    """Every pod template of every object."""
    for manifest in objects:
        yield from _plain_pods(manifest)
        yield from _submitters(manifest)
        cluster = ray_cluster(manifest)
        if cluster is not None:
            yield from _ray_pods(manifest, cluster)


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    """Variables by name: their value, or where it comes from."""
    return {
        each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", ())
    }


def secret_of(variable: Any) -> tuple[str, str] | None:
    """Name and key of the Secret that a variable's value, or where it comes from, stands in."""
    source = variable.get("valueFrom", variable) if isinstance(variable, Mapping) else {}
    reference = source.get("secretKeyRef")
    return None if reference is None else (reference["name"], reference["key"])


def mounts(container: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What is mounted, by path."""
    return {each["mountPath"]: each for each in container.get("volumeMounts", ())}


def pods_behind(service: Manifest, everyone: Iterable[Pod]) -> Iterator[Pod]:
    """Those that a Service chooses."""
    return (pod for pod in everyone if fits(service["spec"]["selector"], pod.labels))


def fits(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, or a Service's plain one, chooses a pod; an empty one does."""
    if not selector:
        return True
    given = selector.get("matchLabels", {})
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        given = selector
    return all(labels.get(key) == value for key, value in given.items()) and all(
        _expression_fits(each, labels) for each in selector.get("matchExpressions", ())
    )


def _expression_fits(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None


def _plain_pods(manifest: Manifest) -> Iterator[Pod]:
    spec = manifest.get("spec", {})
    match manifest.get("kind"):
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            template = spec["template"]
        case "CronJob":
            template = spec["jobTemplate"]["spec"]["template"]
        case _:
            return
    labels = template.get("metadata", {}).get("labels", {})
    yield Pod(place(manifest), manifest, labels, template["spec"])


def _submitters(manifest: Manifest) -> Iterator[Pod]:
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}) if manifest.get("kind") == "RayCronJob" else spec
    template = spec.get("submitterPodTemplate")
    if template is not None:
        labels = template.get("metadata", {}).get("labels", {})
        where = f"{place(manifest)}, submitter"
        yield Pod(where, manifest, labels, template["spec"], Role.SUBMITTER)


def _ray_pods(manifest: Manifest, cluster: Mapping[str, Any]) -> Iterator[Pod]:
    groups = [("headgroup", Role.HEAD, cluster["headGroupSpec"])]
    groups += [
        (group["groupName"], Role.WORKER, group) for group in cluster.get("workerGroupSpecs", ())
    ]
    for name, role, group in groups:
        template = group["template"]
        labels = {
            **template.get("metadata", {}).get("labels", {}),
            # As KubeRay 1.7 labels pods (labelPod and BuildPod in its pod.go).
            "ray.io/is-ray-node": "yes",
            "ray.io/node-type": str(role),
            "ray.io/group": name,
            "ray.io/cluster": f"{name_of(manifest)}-generated",
        }
        if manifest.get("kind") == "RayService":
            labels["ray.io/serve"] = "true" if role is Role.WORKER else "false"
        yield Pod(f"{place(manifest)}, {name}", manifest, labels, template["spec"], role, group)
