"""`python -m kuberay.checks`: render every installation and check it; exit status 1 on a fault."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import yaml

from kuberay.checks.capacity import check_capacity
from kuberay.checks.embedded import check_embedded
from kuberay.checks.jobs import check_jobs
from kuberay.checks.monitoring import check_monitoring
from kuberay.checks.networks import check_networks
from kuberay.checks.nodes import check_nodes
from kuberay.checks.objects import Fault, Manifest
from kuberay.checks.project import Project, read_project
from kuberay.checks.references import check_references
from kuberay.checks.rendering import INSTALLATIONS, kubectl, objects_of
from kuberay.checks.resources import check_resources
from kuberay.checks.rights import check_rights
from kuberay.checks.routes import check_routes
from kuberay.checks.safety import check_safety
from kuberay.checks.schemas import VARIABLE, check_schemas, read_schemas, schema_folder
from kuberay.checks.selectors import check_selectors
from kuberay.checks.servers import check_servers
from kuberay.checks.serving import check_serving
from kuberay.checks.stores import check_stores
from kuberay.checks.versions import check_versions

Check = Callable[[Sequence[Manifest], Project], Iterator[Fault]]

CHECKS: tuple[Check, ...] = (
    check_versions,
    check_references,
    check_selectors,
    check_routes,
    check_resources,
    check_safety,
    check_rights,
    check_serving,
    check_nodes,
    check_jobs,
    check_capacity,
    check_stores,
    check_servers,
    check_networks,
    check_monitoring,
    check_embedded,
)


def main() -> int:
    """Check all that this machine has the programs and schemas for; say what it has not."""
    program = kubectl()
    if program is None:
        print("kuberay-validate: SKIPPED: no kubectl here, which renders the folders")
        return 0
    folder = schema_folder()
    if folder is None:
        print(f"kuberay-validate: SKIPPED KubeRay's schemas: {VARIABLE} names no folder of them")
    schemas = read_schemas(folder) if folder is not None else {}
    project = read_project()
    n_faults = 0
    for installation in INSTALLATIONS:
        started_at_s = time.monotonic()
        try:
            objects = objects_of(installation, program)
        except RuntimeError as error:
            print(f"{installation.name}: {error}", file=sys.stderr)
            n_faults += 1
            continue
        core = [each for each in objects if folder is not None or not _is_kuberays(each)]
        faults = [*check_schemas(core, schemas), *faults_of(objects, project)]
        for fault in dict.fromkeys(map(str, faults)):
            print(f"{installation.name}: {fault}", file=sys.stderr)
        n_faults += len(faults)
        took_s = time.monotonic() - started_at_s
        print(f"{installation.name}: {len(objects)} objects, {len(faults)} faults, {took_s:.1f} s")
    return 1 if n_faults else 0


def faults_of(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """All that the checks find, in order."""
    for check in CHECKS:
        try:
            yield from check(objects, project)
        except (LookupError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
            # The checks read objects as the schemas have them, and these may be broken, or missing.
            yield Fault(check.__name__, f"stops at {error!r}: an object has not its kind's form")


def _is_kuberays(manifest: Manifest) -> bool:
    return str(manifest.get("apiVersion")).startswith("ray.io/")


if __name__ == "__main__":
    sys.exit(main())
