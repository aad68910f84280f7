"""What a config may say of traces, and who decides which there are; nothing here makes one."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from tuning.configfile import Spec
from tuning.errors import ConfigError

SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"

DISABLED = "OTEL_SDK_DISABLED"

PARENT_BASED = "parentbased_"

SHARES: Mapping[str, float | None] = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
"""OpenTelemetry's samplers, and the share that each takes; None reads it from its argument."""


class TracesSpec(Spec):
    """Where spans go, and how many are made. What is left out, OpenTelemetry's variables say."""

    endpoint: str | None = None
    """A collector's address for OTLP over HTTP, such as `http://collector:4318`.

    None takes OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT, else port
    4318 of each process's own host. Keys belong in OTEL_EXPORTER_OTLP_HEADERS.
    """

    sampling: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share that is traced of what comes without a decision of its caller's, whose word counts.

    None takes OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG, else 1.
    """

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            raise ValueError("has a password in it, which belongs in OTEL_EXPORTER_OTLP_HEADERS")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ValueError(f"{value!r}: should be such as 'http://collector:4318'")
        return value


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which traces are made."""

    share: float
    """Of those that begin here."""

    asks_parent: bool = True
    """Whether a caller's decision goes first."""

    def takes(self, parent: bool | None, draw: Callable[[], float]) -> bool:
        """Decide about one trace.

        Args:
            parent: Its caller's decision; None where there is none.
            draw: A number from 0 up to 1.
        """
        if parent is not None and self.asks_parent:
            return parent
        return self.share > 0 and draw() < self.share


def sampling_of(spec: TracesSpec, environment: Mapping[str, str] = os.environ) -> Sampling | None:
    """Decide who decides: the config, else OpenTelemetry's variables, else everything is traced.

    Returns:
        None where OTEL_SDK_DISABLED is true.

    Raises:
        ConfigError: A variable means nothing to us.
    """
    if environment.get(DISABLED, "").strip().lower() == "true":
        return None
    if spec.sampling is not None:
        return Sampling(spec.sampling)
    name = environment.get(SAMPLER, "").strip() or f"{PARENT_BASED}always_on"
    kind = name.removeprefix(PARENT_BASED)
    if kind not in SHARES:
        known = ", ".join((*SHARES, *(f"{PARENT_BASED}{each}" for each in SHARES)))
        raise ConfigError(f"{SAMPLER}: {name!r}, allowed: {known}")
    share = SHARES[kind]
    if share is None:
        share = _share(environment.get(SAMPLER_ARGUMENT, "").strip() or "1")
    return Sampling(share, asks_parent=name.startswith(PARENT_BASED))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{SAMPLER_ARGUMENT}: {text!r}, allowed: a number from 0 to 1")
    return share
