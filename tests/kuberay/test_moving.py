"""From the development overlay to production in one namespace, as docs/kubernetes.md has it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from kuberay.checks.objects import Manifest, place
from kuberay.checks.rendering import MANIFESTS
from tests import manifests
from tests.documents import REPOSITORY, section

MUTABLE: Mapping[str, frozenset[str]] = {
    "PersistentVolumeClaim": frozenset({"resources", "volumeAttributesClassName"}),
    "StatefulSet": frozenset({"replicas", "template", "updateStrategy", "minReadySeconds"}),
}
"""Fields of a spec that Kubernetes lets one change (`ValidateStatefulSetUpdate` and its like)."""

IMMUTABLE: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "selector"),
    "RoleBinding": ("roleRef",),
}
"""What of other kinds it does not."""


@pytest.fixture(scope="module")
def overlays(program: str) -> Mapping[str, Mapping[str, Manifest]]:
    return {
        name: {place(each): each for each in manifests.folder(MANIFESTS / "overlays" / name)}
        for name in ("development", "production")
    }


def deleted() -> set[str]:
    """What the document has people delete by name, as places of objects."""
    kinds = {"raycluster": "RayCluster", "persistentvolumeclaim": "PersistentVolumeClaim"}
    text = section(REPOSITORY / "docs" / "kubernetes.md", "From an empty cluster")
    named = re.findall(r"^\$ kubectl -n rayfleet delete (.+)$", text, re.MULTILINE)
    words = [word.split("/") for line in named for word in line.split() if "/" in word]
    return {f"{kinds[kind]}/{name}" for kind, name in words}


def fixed(manifest: Manifest) -> Any:
    """The part of an object that must be what it was."""
    kind = manifest["kind"]
    if kind in MUTABLE:
        return {key: value for key, value in manifest["spec"].items() if key not in MUTABLE[kind]}
    found: Any = manifest
    for key in IMMUTABLE.get(kind, ()):
        found = found[key]
    return found if kind in IMMUTABLE else None


def refused(before: Mapping[str, Manifest], after: Mapping[str, Manifest]) -> Iterator[str]:
    """Objects that Kubernetes would not change so."""
    return (
        each for each in before.keys() & after.keys() if fixed(before[each]) != fixed(after[each])
    )


def test_what_cannot_be_changed_is_deleted_before(
    overlays: Mapping[str, Mapping[str, Manifest]],
) -> None:
    development, production = overlays["development"], overlays["production"]

    assert set(refused(development, production)) <= deleted()
    assert set(refused(development, production)), "the document need not speak of it"


def test_what_only_development_has_does_not_stay(
    overlays: Mapping[str, Mapping[str, Manifest]],
) -> None:
    stays: Sequence[str] = sorted(overlays["development"].keys() - overlays["production"].keys())

    assert set(stays) <= deleted()


def test_production_s_kinds_of_overlays_can_replace_each_other(program: str) -> None:
    plain, incremental = (
        {place(each): each for each in manifests.folder(MANIFESTS / "overlays" / name)}
        for name in ("production", "production-incremental")
    )

    assert list(refused(plain, incremental)) == []
