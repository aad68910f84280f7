"""Everything that a fleet config may say.

A fleet config is a native Serve config file. The `fleet` application's `args` hold what
rarely changes (`FleetSpec`); the models are the `user_config` of its `Controller`
deployment (`userconfig.ModelsSpec`), so that changing one calls `reconfigure` and restarts
nothing.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from deployments.controlspec import ControlSpec
from deployments.logspec import LogsSpec
from deployments.mirrorspec import MirrorSpec, named_versions
from deployments.resourcespec import MOST, RayActorOptionsSpec
from deployments.rolloutspec import RolloutSettings
from tuning.configfile import Spec
from tuning.tracespec import TracesSpec

Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(gt=0, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(ge=0, le=MOST)]
PositiveSeconds = Annotated[float, Field(gt=0, le=MOST)]

STABLE_ALIAS = "champion"
"""Registry alias of the version that answers by default."""

CANARY_ALIAS = "challenger"
"""Registry alias of the version that asks to replace it."""

MODEL_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!-))*\Z")
"""Names that fit into a URL segment and, before `--vVERSION`, into an application's name."""

VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""Versions of MLflow, whose stores hold them in 32 bits."""

TransportName = Literal["handle", "direct", "inline", "auto"]

IMPORT_COST = "importing TensorFlow costs every gateway seconds and half a gigabyte"

CONTEXT_MIB = 512
"""What a process takes of a GPU before its framework takes anything, at most: the driver's
context and kernels. No framework counts it, so it is kept aside out of every budget."""

RuntimeName = Literal["auto", "sklearn", "torch", "tensorflow", "pyfunc"]

OF_REPLICAS = (
    "transport", "num_replicas", "autoscaling_config", "ray_actor_options", "gpu_memory_mib",
    "torch",
)  # fmt: skip
"""Settings of a model that say what its own replicas are like."""


class ExpressSpec(Spec):
    """The express ports: each gateway's own servers, which spare Serve's work per request."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every one of the node."""

    port: Annotated[int, Field(gt=0, lt=65536)] = 8080
    """Port that all gateways of a node share."""

    grpc_port: Annotated[int, Field(gt=0, lt=65536)] | None = 8001
    """The same for gRPC, by default where Triton has it; null closes it."""

    keep_alive_timeout_s: Annotated[float, Field(ge=1, le=MOST)] = 90.0
    """How long a connection stays open between requests, seconds."""

    read_timeout_s: PositiveSeconds = 60.0
    """Longest time from the first byte of a request to its last, seconds."""

    ssl_keyfile: str | None = None
    """Private key for TLS, a path on every node; with `ssl_certfile`."""

    ssl_certfile: str | None = None
    """Certificate chain for TLS, a path on every node."""

    ssl_keyfile_password: str | None = None
    """Password of the private key."""

    ssl_ca_certs: str | None = None
    """Authorities whose client certificates are asked for and accepted; None asks for none."""

    @model_validator(mode="after")
    def _key_and_certificate_go_together(self) -> Self:
        if (self.ssl_keyfile is None) != (self.ssl_certfile is None):
            raise ValueError("ssl_keyfile and ssl_certfile go together, or neither")
        if self.ssl_certfile is None and self.ssl_ca_certs is not None:
            raise ValueError("ssl_ca_certs needs ssl_keyfile and ssl_certfile")
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.grpc_port == self.port:
            raise ValueError(f"port and grpc_port are both {self.port}, change one")
        return self


class FleetSpec(Spec):
    """`args` of the fleet application: addresses and limits. A change restarts the gateways."""

    tracking_uri: str | None = None
    """MLflow tracking server; None takes MLFLOW_TRACKING_URI, else the embedded default."""

    registry_uri: str | None = None
    """MLflow model registry; None takes `tracking_uri`, else MLFLOW_REGISTRY_URI."""

    store_url: str | None = None
    """SQLAlchemy address of the fleet store; None takes RAYFLEET_STORE, else SQLite."""

    registry_poll_s: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Time between two looks at the registry's aliases, seconds."""

    request_deadline_s: PositiveSeconds = 30.0
    """Longest time from the last byte of a request to its answer, seconds."""

    max_body_bytes: Annotated[int, Field(gt=0, le=2**40)] = 64 * 1024 * 1024
    """Largest request body, before and after decompression, bytes."""

    express: ExpressSpec | None = ExpressSpec()
    """The gateways' own ports beside Serve's; null closes them."""

    control: ControlSpec | None = ControlSpec()
    """The control API's port, on the controller's node; null closes it."""

    logs: LogsSpec = LogsSpec()
    """How the gateways, the controller and versions deployed from now on write logs."""

    traces: TracesSpec | None = None
    """Where the gateways, and versions deployed from now on, send spans; null makes none."""

    model_control_mode: Literal["none", "explicit"] = "none"
    """Whether `/v2/repository/models/NAME/load` and `unload` work, at every inference door."""

    strict_startup: bool = False
    """Whether a model that cannot be loaded keeps the fleet from becoming ready."""


class TorchSpec(Spec):
    """How the PyTorch runtime computes; the other runtimes read none of it."""

    half_precision: Literal["float16", "bfloat16"] | None = None
    """What linear layers and convolutions compute in; None keeps the model's own type."""

    compile: bool = False
    """Whether `torch.compile` compiles the module before the version is ready."""

    pin_memory: bool = False
    """Whether inputs go to the GPU through page-locked memory."""

    def needs_gpu(self) -> str | None:
        """The setting that is of no use on a CPU, with its reason; None when there is none."""
        if self.half_precision == "float16":
            return (
                "torch.half_precision 'float16': PyTorch computes that slowly on CPUs,"
                " where 'bfloat16' is meant"
            )
        if self.pin_memory:
            return "torch.pin_memory true: it is for copies to a GPU"
        return None


class AutoscalingSpec(Spec):
    """When replicas are added and removed, in Serve's words."""

    min_replicas: CountOrZero = 1
    initial_replicas: CountOrZero | None = None
    max_replicas: Count = 1

    target_ongoing_requests: Annotated[float, Field(gt=0, le=MOST)] = 32.0
    """Requests in flight or queued at the gateways for each replica."""

    metrics_interval_s: PositiveSeconds = 1.0
    look_back_period_s: PositiveSeconds = 5.0
    upscale_delay_s: Seconds = 5.0
    downscale_delay_s: Seconds = 60.0
    downscale_to_zero_delay_s: Seconds | None = None
    upscaling_factor: Annotated[float, Field(gt=0, le=MOST)] | None = None
    downscaling_factor: Annotated[float, Field(gt=0, le=MOST)] | None = None

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}"
            )
        initial = self.initial_replicas
        if initial is not None and not self.min_replicas <= initial <= self.max_replicas:
            raise ValueError(
                f"initial_replicas {initial} is outside [{self.min_replicas}, {self.max_replicas}]"
            )
        return self


class ModelSpec(MirrorSpec, RolloutSettings):
    """How one model is hosted: each of its versions is an application of its own, or in a pool."""

    traffic: dict[str, Percent] = Field(default={STABLE_ALIAS: 100}, min_length=1)
    """Percent of requests by registry alias or version number; sums to 100.

    `champion` is the stable track, or the first entry where it is not listed. What an alias
    that names no version, or a version that is not ready, would get goes to the stable track
    meanwhile.
    """

    runtime: RuntimeName = "auto"
    """What runs the model; `auto` takes the native runtime of its MLflow flavor."""

    transport: TransportName = "handle"
    """How batches reach the model.

    Serve's `handle`; `direct` connections past it; `inline`, a copy of the stable version in
    each gateway's own process, and the replicas where that is busy; or what `auto` picks.
    """

    pool: str | None = None
    """Pool whose replicas hold this model among others; None gives each version its own."""

    num_replicas: Count | None = None
    """Fixed number of replicas for each version; None means 1, or autoscaling if given."""

    autoscaling_config: AutoscalingSpec | None = None
    """Autoscaling for each version; None keeps the number of replicas fixed."""

    ray_actor_options: RayActorOptionsSpec = RayActorOptionsSpec()

    gpu_memory_mib: Annotated[int, Field(gt=CONTEXT_MIB, le=MOST)] | None = None
    """Most memory that a replica may take of each of its GPUs, MiB; None takes its share."""

    torch: TorchSpec = TorchSpec()

    max_batch_size: Count | None = None
    """Most rows that the gateway joins into one call; a larger request goes alone. None adapts."""

    batch_wait_timeout_s: Annotated[float, Field(ge=0, le=1)] | None = None
    """Longest time that a row waits for company while a replica is idle, seconds.

    None adapts: no wait for a lone client or a cheap model, else up to a quarter of a call.
    """

    latency_target_s: PositiveSeconds | None = None
    """Time from a request's arrival to its answer that batching keeps to, seconds.

    Batches are kept so small that each takes half of it at most, where single rows do.
    """

    max_concurrent_batches: Count | None = None
    """Batches in flight for each replica, as each gateway counts them.

    None adapts: one, or two where the transport is direct and the model quick.
    """

    max_queued_requests: Count = 1000
    """Requests that may wait at each gateway; one more is answered 503."""

    request_deadline_s: PositiveSeconds | None = None
    """This model's own deadline, seconds; None takes the fleet's."""

    @field_validator("traffic", mode="before")
    @classmethod
    def _versions_may_be_numbers(cls, value: Any) -> Any:
        return named_versions(value)

    @field_validator("traffic")
    @classmethod
    def _weights_sum_to_100(cls, value: dict[str, int]) -> dict[str, int]:
        total = sum(value.values())
        if total != 100:
            shown = ", ".join(f"{key}: {weight}" for key, weight in value.items())
            raise ValueError(f"weights {{{shown}}} sum to {total}, must sum to 100")
        return value

    @property
    def stable_key(self) -> str:
        """The entry of `traffic` that is the stable track."""
        return STABLE_ALIAS if STABLE_ALIAS in self.traffic else next(iter(self.traffic))

    @model_validator(mode="after")
    def _a_version_answers_or_mirrors(self) -> Self:
        both = [key for key in self.mirror if key in self.traffic]
        if both:
            raise ValueError(f"mirror: {both[0]!r} is in traffic, where its answers are used")
        return self

    @model_validator(mode="after")
    def _replicas_are_fixed_or_scaled(self) -> Self:
        if self.num_replicas is not None and self.autoscaling_config is not None:
            raise ValueError("give num_replicas or autoscaling_config, not both")
        return self

    @model_validator(mode="after")
    def _a_pool_has_the_replicas(self) -> Self:
        if self.pool is not None and (given := replica_settings(self)):
            raise ValueError(f"pool {self.pool!r} has the replicas, so leave out {given}")
        return self

    @property
    def inline_obstacle(self) -> str | None:
        """Why a gateway cannot hold a copy of this model in its own process; None if it can."""
        options = self.ray_actor_options
        if options.num_gpus:
            return f"the model takes GPUs (num_gpus {options.num_gpus:g}), which gateways lack"
        if options.accelerator_type is not None:
            return f"the model needs an accelerator ({options.accelerator_type})"
        if options.resources:
            return f"the model needs nodes with {', '.join(sorted(options.resources))}"
        if options.runtime_env:
            return "the model has a runtime_env, and gateways have their own"
        if self.torch != TorchSpec():
            return "the model has torch settings, which only replicas heed"
        return IMPORT_COST if self.runtime == "tensorflow" else None

    @model_validator(mode="after")
    def _inline_models_fit_into_a_gateway(self) -> Self:
        if self.transport == "inline" and self.inline_obstacle is not None:
            raise ValueError(
                f"transport 'inline' cannot be: {self.inline_obstacle};"
                " allowed: 'handle', 'direct', 'auto'"
            )
        return self

    @model_validator(mode="after")
    def _gpu_settings_have_a_gpu(self) -> Self:
        if self.torch != TorchSpec() and self.runtime not in {"auto", "torch"}:
            raise ValueError(f"torch: only the runtime 'torch' reads it, not {self.runtime!r}")
        if self.ray_actor_options.num_gpus > 0:
            return self
        fault = self.torch.needs_gpu()
        if self.gpu_memory_mib is not None:
            fault = f"gpu_memory_mib {self.gpu_memory_mib}: there is no GPU to take it of"
        if fault is not None:
            raise ValueError(f"{fault}; set ray_actor_options.num_gpus above 0")
        return self


def replica_settings(spec: ModelSpec) -> str:
    """Name what a model's settings say about replicas of its own; empty when that is nothing."""
    return ", ".join(name for name in OF_REPLICAS if name in spec.model_fields_set)


def application_name(model: str, version: str) -> str:
    """Name of the Serve application that hosts one version."""
    return f"{model}--v{version}"


def is_version(key: str) -> bool:
    """Whether an entry of `traffic` is a version, as MLflow numbers them, and not an alias."""
    return VERSION.fullmatch(key) is not None


def parse_application_name(name: str) -> tuple[str, str] | None:
    """Split an application's name into model and version; None when it is not a version's."""
    model, separator, version = name.rpartition("--v")
    return (model, version) if separator and is_version(version) else None
