"""Whether the replicas of an embedded config find room in the groups of workers beside it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.resourcespec import RayActorOptionsSpec
from deployments.schema import ModelSpec
from deployments.userconfig import ModelsSpec, PoolSpec
from kuberay.checks.configs import deployment, serve_config
from kuberay.checks.objects import Fault, Manifest, of_kind, place
from kuberay.checks.project import Project
from tuning.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Need:
    """What one replica reserves, and how many always run."""

    what: str
    cpus: float
    gpus: float
    memory_bytes: float
    always: int


def check_capacity(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Place each replica on a worker, and those that always run on the workers that do."""
    for service in of_kind(objects, "RayService"):
        config = serve_config(service)
        groups = service["spec"]["rayClusterConfig"].get("workerGroupSpecs", ())
        try:
            needs = list(_needs(config))
        except ConfigError:
            continue  # `check_embedded` says what is wrong with it
        for need in needs:
            yield from _room(place(service), need, groups)
        always = [group for group in groups if not _gpus(group)]
        gateways = deployment(config, "Gateway").get("num_replicas", 1)
        workers = sum(group["minReplicas"] for group in always)
        if gateways > workers:
            what = f"{gateways} gateways, one on a node, but {workers} workers that always run"
            yield Fault(place(service), what)
        running = [need for need in needs if not need.gpus]
        cpus = math.fsum(need.cpus * need.always for need in running)
        memory_bytes = math.fsum(need.memory_bytes * need.always for need in running)
        for param, unit, wanted in (("num-cpus", "CPU", cpus), ("memory", "B", memory_bytes)):
            had = math.fsum(float(e["rayStartParams"][param]) * e["minReplicas"] for e in always)
            if wanted > had:
                what = f"need {wanted:.12g} {unit}, workers that do have {had:.12g}"
                yield Fault(place(service), f"replicas that always run {what}")


def _room(where: str, need: Need, groups: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    if not any(_fits(need, group["rayStartParams"]) for group in groups):
        what = (
            f"a replica of {need.what} needs {need.cpus:g} CPU, {need.gpus:g} GPU and"
            f" {need.memory_bytes:.0f} B: no group has such workers"
        )
        yield Fault(where, what)
    if not need.cpus and not need.gpus:
        # The head offers neither, but memory.
        yield Fault(where, f"{need.what} reserves no CPU: Serve may put it on the head")


def _needs(config: Mapping[str, Any]) -> Iterator[Need]:
    gateway = deployment(config, "Gateway")
    given = gateway.get("ray_actor_options", {})
    yield Need("Gateway", given.get("num_cpus", 0.1), 0, 0, gateway.get("num_replicas", 1))
    controller = deployment(config, "Controller")
    # Our own choice is none, so that it starts on a machine that is full.
    given = controller.get("ray_actor_options", {})
    yield Need("Controller", given.get("num_cpus", 0), 0, 0, 1)
    spec = ModelsSpec.load(controller["user_config"], path="user_config")
    # A model of a pool has no replicas of its own.
    models = {name: model for name, model in spec.models.items() if model.pool is None}
    replicated: dict[str, ModelSpec | PoolSpec] = {**models, **spec.pools}
    for name, hosted in replicated.items():
        scaling = hosted.autoscaling_config
        always = scaling.min_replicas if scaling is not None else (hosted.num_replicas or 1)
        yield _need(name, hosted.ray_actor_options, always)


def _need(name: str, options: RayActorOptionsSpec, always: int) -> Need:
    return Need(name, options.num_cpus, options.num_gpus, options.memory or 0, always)


def _fits(need: Need, params: Mapping[str, str]) -> bool:
    return (
        need.cpus <= float(params.get("num-cpus", 0))
        and need.gpus <= float(params.get("num-gpus", 0))
        and need.memory_bytes <= float(params.get("memory", 0))
    )


def _gpus(group: Mapping[str, Any]) -> float:
    return float(group["rayStartParams"].get("num-gpus", 0))
