"""Have pools load versions that are to get traffic, and hear what came of it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from deployments.controller.pools import Proof
from deployments.predictor.predictor import DEPLOYMENT

PROOF_TIMEOUT_S = 120.0
"""Longest wait for a version to be loaded, seconds."""


class Proofs:
    """Proofs under way, and what is proven. One event loop owns it."""

    def __init__(self, heard: Callable[[str, str | None], None], wake: Callable[[], None]) -> None:
        """Begin.

        Args:
            heard: Takes a version's name and why it could not be loaded; None if it was.
            wake: Has the controller look at once.
        """
        self._heard = heard
        self._wake = wake
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._proven: set[str] = set()

    @property
    def proven(self) -> frozenset[str]:
        """Versions that a replica has loaded, by their name as an application."""
        return frozenset(self._proven)

    def begin(self, due: Iterable[Proof]) -> None:
        """Start those that are not under way."""
        for proof in due:
            if proof.name not in self._under_way:
                task = asyncio.get_running_loop().create_task(self._prove(proof))
                self._under_way[proof.name] = task

    async def _prove(self, proof: Proof) -> None:
        handle = serve.get_deployment_handle(DEPLOYMENT, proof.pool, _check_exists=False)
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                answer: Any = handle.prove.remote(proof.target)
                reason: str | None = await answer
        except (RayError, RayServeException, TimeoutError) as error:
            reason = f"its pool could not load it: {type(error).__name__}"
        finally:
            del self._under_way[proof.name]
        if reason is None:
            self._proven.add(proof.name)
        self._heard(proof.name, reason)
        self._wake()
