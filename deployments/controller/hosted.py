"""Which models the fleet hosts: the config's, those added through the API, and those of pools.

The config owns its models: the API cannot change or remove them. What was added through the
API lives in the fleet store, survives a re-applied config and a restart, and gives way to
the config once that lists it. What a pool's patterns take is the config's too, unless one of
the two names it.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum

from deployments.controller.pools import matched_specs
from deployments.errors import ConflictError, NotFoundError
from deployments.rolloutspec import RolloutSpec
from deployments.schema import ModelSpec
from deployments.store.store import FleetStore
from deployments.userconfig import NO_POOLS, NO_ROLLOUTS, PoolSpec
from tuning.errors import ConfigError

logger = logging.getLogger(__name__)


class Origin(StrEnum):
    """Who owns a hosted model."""

    CONFIG = "config"
    API = "api"


class HostedModels:
    """Settings by model. Methods that say so block on the store."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._configured: Mapping[str, ModelSpec] = {}
        self._added: dict[str, ModelSpec] = {}
        self._matched: Mapping[str, ModelSpec] = {}
        self._pools: Mapping[str, PoolSpec] = {}
        self._rollouts: Mapping[str, RolloutSpec] = {}

    @property
    def specs(self) -> Mapping[str, ModelSpec]:
        """What is to be hosted."""
        return {**self._matched, **self._added, **self._configured}

    @property
    def pools(self) -> Mapping[str, PoolSpec]:
        """The config's pools."""
        return self._pools

    @property
    def rollouts(self) -> Mapping[str, RolloutSpec]:
        """The config's templates."""
        return self._rollouts

    def spec(self, name: str) -> ModelSpec:
        """Settings of a hosted model.

        Raises:
            NotFoundError: It is not hosted.
        """
        spec = self.specs.get(name)
        if spec is None:
            raise NotFoundError(f"model {name!r} is not hosted")
        return spec

    def origin(self, name: str) -> Origin:
        """Who owns a hosted model.

        Raises:
            NotFoundError: It is not hosted.
        """
        if name in self._configured:
            return Origin.CONFIG
        if name in self._added:
            return Origin.API
        if name in self._matched:
            return Origin.CONFIG
        raise NotFoundError(f"model {name!r} is not hosted")

    def configure(
        self,
        specs: Mapping[str, ModelSpec],
        pools: Mapping[str, PoolSpec] = NO_POOLS,
        rollouts: Mapping[str, RolloutSpec] = NO_ROLLOUTS,
    ) -> None:
        """Take the config's models, pools and templates of rollouts."""
        self._configured = dict(specs)
        self._pools = dict(pools)
        self._rollouts = dict(rollouts)
        self.match(self._matched)

    def match(self, registered: Iterable[str]) -> None:
        """Host those of the registered models that the pools' patterns take, and no others."""
        self._matched = matched_specs(self._pools, registered)

    def read(self) -> None:
        """Take over what the store says; another cluster may have written it. Blocks."""
        added = {}
        for name, text in self._store.load_hosted().items():
            try:
                added[name] = ModelSpec.load(json.loads(text), path=name)
            except ConfigError as error:
                logger.warning("hosted model of another release is left out: %s", error)
        self._added = added

    def require_own(self, name: str) -> None:
        """Check that the API may change a model.

        Raises:
            NotFoundError: It is not hosted.
            ConflictError: The config owns it.
        """
        if self.origin(name) is Origin.CONFIG:
            raise ConflictError(f"model {name!r} is in the fleet's config, change it there")

    def require_new(self, name: str) -> None:
        """Check that a model is not hosted.

        Raises:
            ConflictError: It is.
        """
        if name in self.specs:
            raise ConflictError(f"model {name!r} is hosted already, by {self.origin(name)}")

    def save(self, name: str, spec: ModelSpec) -> None:
        """Host a model, or host it differently. Blocks."""
        self._store.save_hosted(name, spec.model_dump_json(exclude_unset=True, by_alias=True))
        self._added[name] = spec

    def remove(self, name: str) -> None:
        """Host a model no longer. Blocks."""
        self._store.forget_hosted(name)
        self._added.pop(name, None)
