"""Absolute addresses and limits: a fleet's `args` with the embedded defaults filled in."""

from dataclasses import dataclass

from deployments.controlspec import ControlSpec
from deployments.logspec import LogsSpec
from deployments.schema import ExpressSpec, FleetSpec
from tuning.home import resolve_home
from tuning.tracespec import TracesSpec


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process of a fleet is given; it holds on every node."""

    tracking_uri: str
    registry_uri: str
    store_url: str

    tables_folder: str
    """Folder on each node for the last routing table."""

    registry_poll_s: float
    request_deadline_s: float
    max_body_bytes: int
    strict_startup: bool

    express: ExpressSpec | None
    """None where the gateways have Serve's door alone."""

    control: ControlSpec | None
    model_control_mode: str

    logs: LogsSpec

    traces: TracesSpec | None
    """None where no spans are made."""


def resolve_settings(spec: FleetSpec, *, create_home: bool = True) -> Settings:
    """Resolve addresses: the config's, else the environment's, else the embedded defaults.

    Args:
        spec: The fleet's `args`.
        create_home: Whether the folder of the embedded defaults is made; checks leave nothing.
    """
    home = resolve_home(create=create_home)
    return Settings(
        tracking_uri=spec.tracking_uri or home.tracking_uri,
        registry_uri=spec.registry_uri or spec.tracking_uri or home.registry_uri,
        store_url=spec.store_url or home.store_url,
        tables_folder=str(home.tables),
        registry_poll_s=spec.registry_poll_s,
        request_deadline_s=spec.request_deadline_s,
        max_body_bytes=spec.max_body_bytes,
        strict_startup=spec.strict_startup,
        express=spec.express,
        control=spec.control,
        model_control_mode=spec.model_control_mode,
        logs=spec.logs,
        traces=spec.traces,
    )
