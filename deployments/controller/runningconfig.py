"""Which config a fleet runs on: the deployed one, or the last good one while that is refused.

A controller that ended over a config would leave rollouts without a judge, and people without the
control API. So it does as nginx, Envoy and Prometheus do: it says so, and goes on.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from deployments.controller.dependencies import Guarded
from deployments.errors import AwayError, ConfigError
from deployments.store.store import FleetStore
from deployments.userconfig import ModelsSpec
from tuning.errors import ConfigError as SpellingError

logger = logging.getLogger(__name__)

Check = Callable[[ModelsSpec], Awaitable[bool]]
"""Raises a ConfigError for what cannot be hosted; False while that cannot be asked."""


class RunningConfig:
    """The last good `user_config`, which outlives this process. Owned by one event loop."""

    def __init__(
        self,
        store: FleetStore,
        guarded: Guarded,
        restored: Callable[[], Awaitable[bool]],
        check: Check,
    ) -> None:
        """Begin.

        Args:
            store: Keeps the config of this cluster.
            guarded: Calls it, and goes on without it.
            restored: Whether it was reached once, and so has our tables.
            check: Looks at what a config names.
        """
        self._store = store
        self._guarded = guarded
        self._restored = restored
        self._check = check
        self._good: ModelsSpec | None = None
        self._is_kept = False
        self._refused: Mapping[str, Any] | None = None
        # Serve may deploy a config while the reconciler looks again at the one before.
        self._deciding = asyncio.Lock()

        self.refusal = ""
        """Why the deployed config is not in force, a line for each fault; empty when it is."""

    async def take(self, user_config: Mapping[str, Any]) -> ModelsSpec:
        """Decide what to run on, now that this was deployed.

        Raises:
            ConfigError: It is refused, and there is no good one to go on with.
        """
        async with self._deciding:
            return await self._take(user_config)

    async def look_again(self) -> ModelsSpec | None:
        """Do what could not be done before: store a good config, or take a refused one.

        Returns:
            The config, if it was refused and is in force now: what it names was registered since.
        """
        async with self._deciding:
            if self._good is not None and not self._is_kept:
                await self._keep(self._good)
            if self._refused is None:
                return None
            spec = await self._take(self._refused)
            return None if self.refusal else spec

    async def _take(self, user_config: Mapping[str, Any]) -> ModelsSpec:
        try:
            spec = ModelsSpec.load(user_config, path="user_config")
            if not await self._check(spec):
                await self._refuse_a_stranger(spec)
        except (ConfigError, SpellingError) as error:
            self._good = self._good or await self._stored()
            if self._good is None:
                raise
            self._refuse(user_config, error)
            return self._good
        if self.refusal:
            logger.info("the deployed config is in force")
        self._good, self._refused, self.refusal = spec, None, ""
        await self._keep(spec)
        return spec

    async def _refuse_a_stranger(self, spec: ModelsSpec) -> None:
        """Have a config that cannot be checked wait, where it may have been refused before.

        A controller that starts does not know, and a model that it misspells would be gone.
        """
        if self._good is not None and not self.refusal:
            return
        good = self._good or await self._stored()
        if good not in (None, spec):
            raise AwayError("user_config: cannot be checked until the model registry answers")

    def _refuse(self, user_config: Mapping[str, Any], error: Exception) -> None:
        if isinstance(error, AwayError) and user_config == self._refused:
            return
        if str(error) != self.refusal:
            shown = "; ".join(str(error).splitlines())
            logger.error("the deployed config is refused, the last good one stays: %s", shown)
        self._refused, self.refusal = user_config, str(error)

    async def _keep(self, spec: ModelsSpec) -> None:
        self._is_kept = await self._guarded("fleet store", self._save, spec) is True

    def _save(self, spec: ModelsSpec) -> bool:
        self._store.save_config(spec.model_dump_json(exclude_unset=True, by_alias=True))
        return True

    async def _stored(self) -> ModelsSpec | None:
        """The good config of an earlier controller; None where there is none that can be read."""
        if not await self._restored():
            return None
        body = await self._guarded("fleet store", self._store.load_config)
        if body is None:
            return None
        try:
            return ModelsSpec.load(json.loads(body))
        except SpellingError as error:
            logger.warning("the last good config, of another release, is left out: %s", error)
            return None
