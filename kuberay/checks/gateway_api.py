"""The part of the Gateway API (v1) that the examples use, since no package carries its schemas.

Source:
    https://gateway-api.sigs.k8s.io/reference/spec/, kinds Gateway and HTTPRoute.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kuberay.checks.objects import Fault, Manifest, place

GROUP = "gateway.networking.k8s.io/v1"
KINDS = {(GROUP, "Gateway"), (GROUP, "HTTPRoute")}

Port = Annotated[int, Field(ge=1, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Reference(_Part):
    name: str


class _Tls(_Part):
    mode: Literal["Terminate", "Passthrough"]
    certificateRefs: list[_Reference]  # noqa: N815, the API's names


class _Listener(_Part):
    name: str
    protocol: Literal["HTTP", "HTTPS", "TLS"]
    port: Port
    hostname: str | None = None
    tls: _Tls | None = None


class _GatewaySpec(_Part):
    gatewayClassName: str  # noqa: N815
    listeners: Annotated[list[_Listener], Field(min_length=1)]


class _Parent(_Part):
    name: str
    sectionName: str | None = None  # noqa: N815


class _Path(_Part):
    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    value: Annotated[str, Field(pattern="^/")]


class _Match(_Part):
    path: _Path


class _Timeouts(_Part):
    request: Annotated[str, Field(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]


class _Backend(_Part):
    name: str
    port: Port


class _Rule(_Part):
    matches: list[_Match]
    timeouts: _Timeouts | None = None
    backendRefs: list[_Backend]  # noqa: N815


class _RouteSpec(_Part):
    parentRefs: list[_Parent]  # noqa: N815
    hostnames: list[str]
    rules: list[_Rule]


class _Object(_Part):
    apiVersion: Literal["gateway.networking.k8s.io/v1"]  # noqa: N815
    kind: str
    metadata: dict[str, Any]


class _Gateway(_Object):
    spec: _GatewaySpec


class _Route(_Object):
    spec: _RouteSpec


def gateway_faults(manifest: Manifest) -> Iterator[Fault]:
    """Validate a Gateway or an HTTPRoute."""
    model = _Gateway if manifest["kind"] == "Gateway" else _Route
    try:
        model.model_validate(manifest)
    except ValidationError as error:
        for each in error.errors():
            path = ".".join(map(str, each["loc"]))
            yield Fault(f"{place(manifest)}, {path}", each["msg"])
