"""The container beside Ray's that ships its logs."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from kuberay.checks.__main__ import faults_of
from kuberay.checks.objects import Manifest, Role, of_kind, pods
from kuberay.checks.project import Project
from kuberay.checks.rendering import MANIFESTS
from kuberay.checks.schemas import check_schemas
from tests.documents import REPOSITORY
from tests.kuberay.overlaying import rendered_with

LOGGING = REPOSITORY / "configs" / "logging"
COMPONENT = MANIFESTS / "components" / "log-shipping"
FILES = ("fluent-bit.yaml", "parsers.conf")


@pytest.fixture(scope="module", params=["development", "production"])
def shipping(
    request: pytest.FixtureRequest, program: str, tmp_path_factory: pytest.TempPathFactory
) -> Sequence[Manifest]:
    """An overlay with the component."""
    folder = tmp_path_factory.mktemp("shipping")
    return rendered_with(["stores", "log-shipping"], request.param, folder, program)


def test_it_passes_every_check(shipping: Sequence[Manifest], project: Project) -> None:
    faults = map(str, faults_of(shipping, project))

    # Without the jobs of its installation, an overlay has policies for pods that are not there.
    assert [fault for fault in faults if not fault.startswith("NetworkPolicy/")] == []
    assert list(check_schemas(list(of_kind(shipping, "ConfigMap")), {})) == []


def test_every_pod_of_the_fleet_has_it(shipping: Sequence[Manifest]) -> None:
    fleet = [pod for pod in pods(shipping) if pod.owner["kind"] == "RayService"]

    assert {pod.role for pod in fleet} == {Role.HEAD, Role.WORKER}
    assert {pod.containers[-1]["name"] for pod in fleet} == {"logs"}


def test_it_reads_what_ray_writes_and_remembers_where_it_was(shipping: Sequence[Manifest]) -> None:
    (pod,) = (each for each in pods(shipping) if each.where == "RayService/fleet, cpu")
    logs = pod.containers[-1]
    mounts = {each["mountPath"]: each["name"] for each in logs["volumeMounts"]}
    ray = {each["mountPath"]: each["name"] for each in pod.ray_container["volumeMounts"]}
    (source,) = yaml.safe_load((COMPONENT / FILES[0]).read_text())["pipeline"]["inputs"]

    assert mounts["/tmp/ray"] == ray["/tmp/ray"]
    assert all(path.startswith("/tmp/ray/") for path in source["path"].split(","))
    assert str(Path(source["db"]).parent) in mounts
    assert mounts[str(Path(logs["args"][1]).parent)] == "log-shipping"


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_the_shipped_ones(name: str) -> None:
    assert (COMPONENT / name).read_text() == (LOGGING / name).read_text()
