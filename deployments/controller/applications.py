"""The controller's hands: deploy, delete and look at Serve applications.

All calls block for up to seconds and are made from a thread.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ray import serve
from ray.serve import RunTarget
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ReplicaState  # type: ignore[attr-defined]

from deployments.controller.decide import Deployment
from deployments.controller.failures import ApplicationState
from deployments.controller.pools import PoolDeployment, is_ours
from deployments.controller.transports import runtime_of
from deployments.logspec import LogsSpec
from deployments.predictor.autoscaling import POLICY
from deployments.predictor.predictor import DEPLOYMENT
from deployments.predictor.runtimes.runtime import RuntimeOptions
from deployments.predictor.served import ServedPredictor
from deployments.predictor.servedpool import ServedPool
from deployments.schema import ModelSpec
from deployments.settings import Settings
from deployments.userconfig import PoolSpec

GATEWAY = "Gateway"
"""Name of the ingress in the fleet's own application."""

LOAD_ATTEMPTS = 2
"""Replica starts before Serve calls a version failed; the controller's own back-off follows."""

ERROR_LINE = re.compile(r"[\w.]*(?:Error|Exception)(?:: .*)?$")
"""A traceback's last line."""

TRACEBACK = "Traceback (most recent call last):"

HEALTH_CHECK_PERIOD_S = 2.0
"""Time between two looks at a replica, by which alone Serve 2.60 learns that its process died: of
the 10 s that Serve has unless told, a model whose only replica was killed waited all."""

LEAVING_S = 10.0
"""What a replica needs to leave beside its last batch, seconds."""

ONGOING_BATCHES = 100
"""More batches than all gateways together have in flight at one replica: they do the queueing."""


class Applications:
    """The versions' applications on this cluster."""

    def __init__(self, fleet: str, settings: Settings) -> None:
        self._fleet = fleet
        self._settings = settings

        self.gateways_wanted: int | None = None
        """Replicas of the gateway that Serve was to run at the last look."""

    def look(self, fingerprints: Mapping[str, str]) -> dict[str, ApplicationState] | None:
        """State of every application that hosts a version, or is a pool.

        None when the fleet itself is being deleted: whoever shuts Serve down must not meet
        a controller that deploys again what is missing.
        """
        applications = serve_applications()
        fleet = applications.get(self._fleet)
        if fleet is None or fleet["status"] == ApplicationStatus.DELETING:
            return None
        gateway = fleet["deployments"].get(GATEWAY)
        self.gateways_wanted = gateway and gateway["target_num_replicas"]
        return {
            name: _state(details, fingerprints.get(name))
            for name, details in applications.items()
            if is_ours(name)
        }

    def deploy(
        self,
        deployments: Iterable[Deployment | PoolDeployment],
        specs: Mapping[str, ModelSpec],
        pools: Mapping[str, PoolSpec],
    ) -> dict[str, str]:
        """Start versions and pools; returns once Serve knows of them, not when they are ready.

        Returns:
            Why an application could not even be handed to Serve, by its name. One that
            cannot must not hold up the others.
        """
        refused: dict[str, str] = {}
        targets = []
        for item in deployments:
            try:
                if isinstance(item, PoolDeployment):
                    bound = self._bind_pool(item, pools[item.pool], self._longest_s(specs))
                else:
                    bound = self._bind(item, specs[item.model])
            except (TypeError, ValueError) as error:
                refused[item.application] = f"{type(error).__name__}: {error}"
            else:
                targets.append(RunTarget(bound, name=item.application, route_prefix=None))
        if targets:
            serve.run_many(
                targets,
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
        return refused

    def delete(self, name: str) -> None:
        """Ask Serve to drain and remove an application; returns at once."""
        serve.delete(name, _blocking=False)

    def _bind(self, item: Deployment, spec: ModelSpec) -> serve.Application:
        deadline_s = spec.request_deadline_s or self._settings.request_deadline_s
        return _decorated(ServedPredictor, spec, deadline_s, self._settings.logs).bind(
            fleet=self._fleet,
            deadline_s=deadline_s,
            model=item.model,
            version=item.version,
            runtime=runtime_of(spec, item.facts),
            tracking_uri=self._settings.tracking_uri,
            registry_uri=self._settings.registry_uri,
            options=RuntimeOptions.of(spec),
            traces=self._settings.traces,
        )

    def _longest_s(self, specs: Mapping[str, ModelSpec]) -> float:
        # Of all models, since any may come into the pool without it being deployed again.
        own = [spec.request_deadline_s or 0.0 for spec in specs.values()]
        return max([self._settings.request_deadline_s, *own])

    def _bind_pool(
        self, item: PoolDeployment, spec: PoolSpec, deadline_s: float
    ) -> serve.Application:
        return _decorated(ServedPool, spec, deadline_s, self._settings.logs).bind(
            fleet=self._fleet,
            deadline_s=deadline_s,
            pool=item.pool,
            memory_mib=spec.memory_mib,
            tracking_uri=self._settings.tracking_uri,
            registry_uri=self._settings.registry_uri,
            traces=self._settings.traces,
        )


def _decorated(
    replica: type, spec: ModelSpec | PoolSpec, deadline_s: float, logs: LogsSpec
) -> serve.Deployment:
    """A class as Serve is to run it: how many of it, with what, and how long they may leave."""
    options: dict[str, Any] = {
        "ray_actor_options": spec.ray_actor_options.model_dump(exclude_defaults=False)
    }
    if spec.autoscaling_config is not None:
        options["autoscaling_config"] = {
            **spec.autoscaling_config.model_dump(exclude_none=True),
            "policy": {"policy_function": POLICY},
        }
    else:
        options["num_replicas"] = spec.num_replicas or 1
    decorate = serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=ONGOING_BATCHES,
        max_constructor_retry_count=LOAD_ATTEMPTS,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        graceful_shutdown_timeout_s=deadline_s + LEAVING_S,
        logging_config=logs.serve_options,
        **options,
    )
    decorated: serve.Deployment = decorate(replica)
    return decorated


def serve_applications() -> Mapping[str, Any]:
    """What Serve says of each application, in the words of its REST API.

    `serve.status()` says the same, and pickles the class of the request router anew for each
    application on the way: 15 ms of CPU each (Ray 2.60). What it calls is private, and pinned.
    """
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return {}
    applications: Mapping[str, Any] = client.get_serve_details()["applications"]
    return applications


def _state(details: Mapping[str, Any], fingerprint: str | None) -> ApplicationState:
    deployments = details["deployments"].values()
    replicas = [replica for deployment in deployments for replica in deployment["replicas"]]
    return ApplicationState(
        status=ApplicationStatus(details["status"]).value,
        running_replicas=sum(replica["state"] == ReplicaState.RUNNING for replica in replicas),
        message=cause([details["message"], *(each["message"] for each in deployments)]),
        fingerprint=fingerprint,
    )


def cause(messages: Iterable[str]) -> str:
    """Cut Serve's report down to the line that the replica itself raised.

    Serve 2.60 gives the whole remote traceback, often one inside another; the last line that
    names an error and says something is the innermost.
    """
    lines = [line.strip() for message in messages for line in message.splitlines()]
    errors = [line for line in lines if ERROR_LINE.match(line) and not line.endswith(TRACEBACK)]
    if errors:
        return errors[-1]
    return next((line for line in reversed(lines) if line), "")
