"""`user_config` of the Controller: the models that a fleet hosts, and its pools.

A pool is for the long tail: its replicas hold many small models, each loaded when it is first
asked for, as many as fit into the memory that they may take.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from deployments.resourcespec import MOST, RayActorOptionsSpec
from deployments.rolloutspec import RolloutSpec, rollout_fault
from deployments.schema import (
    MODEL_NAME,
    AutoscalingSpec,
    Count,
    ModelSpec,
    replica_settings,
)
from tuning.configfile import Spec, meant

POOL = "--pool"
"""End of the name of a pool's application. No model's name has `--`, so none is called so."""


class PoolSpec(Spec):
    """Replicas that hold many small models, each loaded when it is asked for."""

    models: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    """Registered models that it takes, as patterns (`*`, `?`, `[ab]`), beside those that name it.

    A model under `models`, or added through the API, is hosted as that says.
    """

    settings: ModelSpec = ModelSpec()
    """How the models that the patterns take are hosted; what `models.NAME` may say."""

    memory_mib: Annotated[int, Field(ge=256, le=MOST)] = 2048
    """Most resident memory of one replica, models and all, MiB."""

    num_replicas: Count | None = None
    """Fixed number of replicas; None means 1, or autoscaling if given."""

    autoscaling_config: AutoscalingSpec | None = None
    """Autoscaling; None keeps the number of replicas fixed."""

    ray_actor_options: RayActorOptionsSpec = RayActorOptionsSpec()

    @field_validator("settings")
    @classmethod
    def _settings_are_not_of_replicas(cls, value: ModelSpec) -> ModelSpec:
        given = "pool" if "pool" in value.model_fields_set else replica_settings(value)
        if given:
            raise ValueError(f"the pool itself has the replicas, so leave out {given}")
        return value

    @model_validator(mode="after")
    def _replicas_are_fixed_or_scaled(self) -> Self:
        if self.num_replicas is not None and self.autoscaling_config is not None:
            raise ValueError("give num_replicas or autoscaling_config, not both")
        return self

    @model_validator(mode="after")
    def _models_need_no_gpu(self) -> Self:
        options = self.ray_actor_options
        if options.num_gpus or options.accelerator_type is not None:
            given = "num_gpus" if options.num_gpus else "accelerator_type"
            raise ValueError(
                f"ray_actor_options.{given}: a pool has no GPU; give a model that needs one"
                " replicas of its own"
            )
        return self

    def takes(self, model: str) -> bool:
        """Whether one of the patterns fits a registered model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


NO_POOLS: Mapping[str, PoolSpec] = {}
NO_ROLLOUTS: Mapping[str, RolloutSpec] = {}


class ModelsSpec(Spec):
    """`user_config` of the Controller: the models that the fleet hosts."""

    models: dict[str, ModelSpec]
    """Settings by registered model name."""

    pools: dict[str, PoolSpec] = Field(default={})
    """Replicas that many models share, by a name of their own."""

    rollouts: dict[str, RolloutSpec] = Field(default={})
    """How versions earn their traffic, by the name that a model's `rollout` gives."""

    @field_validator("models")
    @classmethod
    def _names_fit_urls_and_applications(cls, value: dict[str, ModelSpec]) -> dict[str, ModelSpec]:
        for name in value:
            if not MODEL_NAME.match(name):
                raise ValueError(
                    f"model name {name!r} cannot be served, allowed: letters, digits, '.', '_'"
                    " and single '-', starting with a letter or digit"
                )
        return value

    @field_validator("pools")
    @classmethod
    def _names_fit_applications(cls, value: dict[str, PoolSpec]) -> dict[str, PoolSpec]:
        for name in value:
            if not MODEL_NAME.match(name):
                raise ValueError(
                    f"pool name {name!r} cannot be used, allowed: letters, digits, '.', '_'"
                    " and single '-', starting with a letter or digit"
                )
        return value

    @model_validator(mode="after")
    def _pools_are_known(self) -> Self:
        for name, spec in self.models.items():
            fault = pool_fault(spec, self.pools)
            if fault is not None:
                raise ValueError(f"models.{name}.{fault}")
        return self

    @model_validator(mode="after")
    def _rollouts_are_known(self) -> Self:
        settings = {f"models.{name}": spec for name, spec in self.models.items()}
        settings |= {f"pools.{name}.settings": spec.settings for name, spec in self.pools.items()}
        for path, spec in settings.items():
            fault = rollout_fault(spec, self.rollouts)
            if fault is not None:
                raise ValueError(f"{path}.{fault}")
        return self


def pool_fault(spec: ModelSpec, pools: Mapping[str, PoolSpec]) -> str | None:
    """Say that a model names a pool that there is not; None when all is well."""
    if spec.pool is None or spec.pool in pools:
        return None
    return (
        f"pool: {spec.pool!r}: no such pool{meant(spec.pool, pools)},"
        f" pools: {', '.join(sorted(pools)) or 'none'}"
    )


def pool_application(pool: str) -> str:
    """Name of the Serve application whose replicas are a pool."""
    return f"{pool}{POOL}"


def parse_pool_application(name: str) -> str | None:
    """The pool of an application; None when it is not one's."""
    return name.removesuffix(POOL) if name.endswith(POOL) else None
