"""Composition root: the import path of every fleet config.

Annotations stay real here: under `from __future__ import annotations` Serve 2.60 would
hand `build` its arguments unvalidated. They arrive as a plain dict on purpose, since our
own validation names file, path and value where Serve's gives a traceback.
"""

from typing import Any

from ray import serve
from ray.serve import Application

from deployments.controller.applications import HEALTH_CHECK_PERIOD_S
from deployments.controller.controller import Controller
from deployments.errors import ConfigError
from deployments.gateway.gateway import Gateway
from deployments.schema import FleetSpec
from deployments.settings import resolve_settings
from deployments.store.address import store_url_fault

CONTROLLER_CALLS = 1000
"""Gateways that may hold a poll at the same time."""

GATEWAY_REQUESTS = 2000
"""Requests in flight in one gateway before Serve holds the next back."""

LEAVING_S = 45.0
"""What a gateway needs to leave beside its last request: Serve's 30 s, and our own ports' 12."""


def build(args: dict[str, Any]) -> Application:
    """Assemble the application graph; nothing is started or loaded yet.

    Args:
        args: A `FleetSpec`, as the config's `args` say it.

    Raises:
        ConfigError: One line for each fault; it becomes the application's status message.
    """
    spec = FleetSpec.load(args, path="args")
    fault = store_url_fault(spec.store_url)
    if fault is not None:
        raise ConfigError(fault)
    settings = resolve_settings(spec)
    controller = serve.deployment(
        name="Controller",
        num_replicas=1,
        max_ongoing_requests=CONTROLLER_CALLS,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        ray_actor_options={"num_cpus": 0},
        logging_config=settings.logs.serve_options,
    )(Controller).bind(settings)
    gateway = serve.deployment(
        name="Gateway",
        num_replicas=1,
        max_ongoing_requests=GATEWAY_REQUESTS,
        graceful_shutdown_timeout_s=LEAVING_S + settings.request_deadline_s,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=settings.logs.serve_options,
    )(serve.ingress()(Gateway))
    return gateway.bind(settings, controller)
