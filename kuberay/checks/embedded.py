"""Whether the serve config inside a RayService is one of ours, word for word, and would start."""

from collections.abc import Iterator, Sequence

from ray.serve.schema import ServeDeploySchema

from deployments.errors import ConfigError
from deployments.fleet import build
from deployments.schema import FleetSpec
from deployments.serveconfig import schema_faults
from deployments.userconfig import ModelsSpec
from kuberay.checks.configs import deployment, fleet_args, serve_config
from kuberay.checks.objects import Fault, Manifest, of_kind, place
from kuberay.checks.project import Project
from tuning.errors import TuningError


def check_embedded(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Compare the text, then build the application that it describes."""
    for service in of_kind(objects, "RayService"):
        text = service["spec"]["serveConfigV2"]
        where = f"{place(service)}, serveConfigV2"
        if text.strip() not in {each.strip() for each in project.configs.values()}:
            known = ", ".join(project.configs)
            yield Fault(where, f"is none of {known}: change the file, then copy it here")
        config = serve_config(service)
        for fault in schema_faults(config, ServeDeploySchema):
            yield Fault(where, fault)
        try:
            FleetSpec.load(fleet_args(config), path="args")
            ModelsSpec.load(deployment(config, "Controller")["user_config"], path="user_config")
            build(dict(fleet_args(config)))
        except (ConfigError, TuningError) as error:
            yield Fault(where, str(error))
