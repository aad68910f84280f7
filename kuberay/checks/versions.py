"""Whether all speak of one Ray, and every image is the one that was tested."""

import re
from collections.abc import Iterator, Sequence

from kuberay.checks.objects import Fault, Manifest, place, pods, ray_cluster
from kuberay.checks.project import Project

IMAGE = re.compile(r"^(?P<name>[^@]+?)(:(?P<tag>[^:/@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?$")

MOVING = {"latest", "stable", "main", "master", "edge", "nightly"}
"""Tags that name another image tomorrow."""


def check_versions(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Compare `rayVersion`, the image's tag and the lock file."""
    tag = f"{project.version}-ray{project.ray}"
    for manifest in objects:
        cluster = ray_cluster(manifest)
        if cluster is not None and cluster.get("rayVersion") != project.ray:
            yield Fault(
                place(manifest),
                f"rayVersion {cluster.get('rayVersion')!r}, the lock file has {project.ray!r}",
            )
    for pod in pods(objects):
        for container in pod.all_containers:
            image = container["image"]
            where = f"{pod.where}, container {container['name']}"
            parts = IMAGE.match(image)
            found = parts["tag"] if parts is not None else None
            starts_ray = pod.is_ray_node and container is pod.ray_container
            ours = starts_ray or (parts or {"name": ""})["name"].endswith("rayfleet")
            if ours and found != tag:
                yield Fault(where, f"image {image!r}: tag should be {tag!r}")
            elif parts is None or (parts["digest"] is None and (found is None or found in MOVING)):
                yield Fault(where, f"image {image!r}: tag should name one version")
