"""What docs/kubernetes.md says of the manifests is what they say."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.__main__ import CHECKS
from kuberay.checks.objects import Manifest, of_kind, pods, ray_cluster
from kuberay.checks.rendering import MANIFESTS
from kuberay.checks.resources import quantity
from kuberay.rules import TARGET, encoded, prometheus_rules
from tests.documents import REPOSITORY, rows, section

KUBERNETES = REPOSITORY / "docs" / "kubernetes.md"
TEXT = KUBERNETES.read_text()


def first_column(heading: str, title: str) -> set[str]:
    table = rows(section(KUBERNETES, heading))
    start = next(n for n, row in enumerate(table) if row[0] == title)
    return {row[0].strip("`") for row in table[start + 1 :]}


def test_every_folder_is_listed() -> None:
    listed = first_column("Kubernetes", "folder")
    folders = {
        str(path.parent.relative_to(REPOSITORY)) for path in MANIFESTS.rglob("kustomization.yaml")
    }

    assert {each for each in listed if not (REPOSITORY / each).is_dir()} == set()
    assert [each for each in folders if not any(each.startswith(one) for one in listed)] == []


def test_rules_of_the_operator_are_as_the_command_writes_them() -> None:
    assert TARGET.read_text() == encoded(prometheus_rules())


def test_every_check_is_listed() -> None:
    checks = {check.__name__.removeprefix("check_") for check in CHECKS}

    assert first_column("Changing the manifests", "check") == checks | {"schemas"}


def test_every_example_is_listed() -> None:
    examples = {str(path.relative_to(REPOSITORY)) for path in MANIFESTS.glob("examples/*.yaml")}

    assert first_column("How requests get in", "example") == examples


def test_every_label_that_lets_a_namespace_in_is_listed(development: Sequence[Manifest]) -> None:
    labels = {
        f"{key}={value}"
        for policy in of_kind(development, "NetworkPolicy")
        for selector in selectors(policy["spec"])
        for key, value in selector["matchLabels"].items()
    }

    assert first_column("Network", "label of a namespace") == {
        each for each in labels if each.startswith("rayfleet/")
    }


def selectors(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "namespaceSelector" in value:
            yield value["namespaceSelector"]
        for inner in value.values():
            yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


def test_times_of_a_leaving_worker_are_the_manifests(development: Sequence[Manifest]) -> None:
    (worker,) = (pod for pod in pods(development) if pod.where == "RayService/fleet, cpu")
    command = worker.ray_container["lifecycle"]["preStop"]["exec"]["command"]
    said = re.search(r"take (\d+) s of the pod's (\d+)", TEXT)

    assert said is not None
    assert said.groups() == (command[-1], str(worker.spec["terminationGracePeriodSeconds"]))


def test_the_size_of_the_development_overlay_is_what_its_pods_ask_for(
    installations: Mapping[str, Sequence[Manifest]],
) -> None:
    said = re.search(r"asks for (\d+) CPUs and (\d+) GiB", TEXT)
    cpus, memory = map(sum, zip(*requests(installations["development"]), strict=True))

    assert said is not None
    assert (int(said[1]), int(said[2])) == (round(cpus), round(memory / 2**30))


def requests(objects: Sequence[Manifest]) -> Iterator[tuple[float, float]]:
    """CPUs and bytes of all pods that always run."""
    for pod in pods(objects):
        if pod.owner["kind"] in {"RayJob", "RayCronJob"}:
            continue
        is_group = pod.group is not None and "groupName" in pod.group
        copies = (pod.group or {}).get("minReplicas", 0) if is_group else 1
        for container in pod.containers:
            asked = container["resources"]["requests"]
            yield copies * quantity(asked["cpu"]), copies * quantity(asked["memory"])
    for manifest in of_kind(objects, "RayService", "RayCluster"):
        asked = (ray_cluster(manifest) or {})["autoscalerOptions"]["resources"]["requests"]
        yield quantity(asked["cpu"]), quantity(asked["memory"])
