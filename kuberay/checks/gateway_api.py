"""The part of the Gateway API (v1) that the examples use, since no package carries its schemas.

Source:
    https://gateway-api.sigs.k8s.io/reference/spec/, kinds Gateway and HTTPRoute.
"""

from typing import Annotated, Literal

from pydantic import Field

from kuberay.checks.partial import Duration, Object, Part, Port

GROUP = "gateway.networking.k8s.io/v1"


class _Reference(Part):
    name: str


class _Tls(Part):
    mode: Literal["Terminate", "Passthrough"]
    certificateRefs: list[_Reference]  # noqa: N815, the API's names


class _Selector(Part):
    matchLabels: dict[str, str]  # noqa: N815


class _Namespaces(Part):
    # `from` is a word of Python's.
    from_: Annotated[Literal["All", "Same", "Selector"], Field(alias="from")]
    selector: _Selector | None = None


class _AllowedRoutes(Part):
    namespaces: _Namespaces


class _Listener(Part):
    name: str
    protocol: Literal["HTTP", "HTTPS", "TLS"]
    port: Port
    hostname: str | None = None
    tls: _Tls | None = None
    allowedRoutes: _AllowedRoutes | None = None  # noqa: N815


class _GatewaySpec(Part):
    gatewayClassName: str  # noqa: N815
    listeners: Annotated[list[_Listener], Field(min_length=1)]


class _Parent(Part):
    name: str
    namespace: str | None = None
    sectionName: str | None = None  # noqa: N815


class _Path(Part):
    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    value: Annotated[str, Field(pattern="^/")]


class _Match(Part):
    path: _Path


class _Timeouts(Part):
    request: Duration


class _Backend(Part):
    name: str
    port: Port


class _Rule(Part):
    matches: list[_Match]
    timeouts: _Timeouts | None = None
    backendRefs: list[_Backend]  # noqa: N815


class _RouteSpec(Part):
    parentRefs: list[_Parent]  # noqa: N815
    hostnames: list[str]
    rules: list[_Rule]


class _Gateway(Object):
    spec: _GatewaySpec


class _Route(Object):
    spec: _RouteSpec


KINDS: dict[tuple[str, str], type[Object]] = {
    (GROUP, "Gateway"): _Gateway,
    (GROUP, "HTTPRoute"): _Route,
}
