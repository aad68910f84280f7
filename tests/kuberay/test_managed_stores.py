"""Production without the stores of its own, changed as docs/kubernetes.md says."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from kuberay.checks.__main__ import faults_of
from kuberay.checks.objects import Manifest, of_kind, place
from kuberay.checks.project import Project
from tests.documents import REPOSITORY, section
from tests.kuberay.overlaying import rendered_with

ADDRESSES: Mapping[str, tuple[str, str]] = {
    "RAYFLEET_STORE": ("@postgres:5432/rayfleet", "@db.example.com:5432/rayfleet"),
    "MLFLOW_BACKEND_STORE_URI": ("@postgres:5432/mlflow", "@db.example.com:5432/mlflow"),
    "redisAddress": ("redis:6379", "redis.example.com:6379"),
    "MLFLOW_S3_ENDPOINT_URL": ("http://s3:9000", "https://s3.example.com:9000"),
}
"""What the document has people change: from where, to where."""

STORES = {"postgres", "redis", "s3"}
ELSEWHERE = {"ipBlock": {"cidr": "192.0.2.7/32"}}


@pytest.fixture(scope="module")
def storeless(program: str, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Manifest]:
    folder = tmp_path_factory.mktemp("managed")
    return rendered_with([], "production", folder, program)


def readdressed(objects: Sequence[Manifest]) -> list[Any]:
    """With every address another one."""
    text = json.dumps(objects)
    for old, new in ADDRESSES.values():
        assert old in text
        text = text.replace(old, new)
    changed: list[Any] = json.loads(text)
    return changed


def let_out(objects: Sequence[Any]) -> Iterator[str]:
    """Let pods out to the addresses instead of to the stores' pods; tells which policies did."""
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", ()):
            for index, peer in enumerate(rule.get("to", ())):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                if labels.get("app.kubernetes.io/name") in STORES:
                    rule["to"][index] = ELSEWHERE
                    yield place(policy)


def test_the_document_names_what_is_to_be_changed() -> None:
    text = section(REPOSITORY / "docs" / "kubernetes.md", "Managed stores")

    assert [name for name in ADDRESSES if f"`{name}`" not in text] == []


def test_nothing_of_the_stores_is_left(storeless: Sequence[Manifest]) -> None:
    assert not {place(each) for each in storeless} & {f"StatefulSet/{name}" for name in STORES}


def test_what_is_not_changed_is_caught(storeless: Sequence[Manifest], project: Project) -> None:
    faults = "\n".join(map(str, faults_of(storeless, project)))

    for name in STORES:
        assert f"host '{name}': there is no such Service" in faults
    for name in ("fleet-store", "fleet-head", "mlflow", "redis-cleanup"):
        assert f"NetworkPolicy/{name}: selector" in faults


def test_with_other_addresses_all_checks_pass(
    storeless: Sequence[Manifest], project: Project
) -> None:
    managed = readdressed(storeless)

    assert set(let_out(managed)) == {
        f"NetworkPolicy/{name}" for name in ("fleet-store", "fleet-head", "mlflow", "redis-cleanup")
    }
    assert list(map(str, faults_of(managed, project))) == []
