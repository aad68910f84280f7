"""Schemas of kinds that no package carries: the part of each that the manifests use."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kuberay.checks.objects import Fault, Manifest, place

Port = Annotated[int, Field(ge=1, le=65535)]
Duration = Annotated[str, Field(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")]


class Part(BaseModel):
    """Some fields of an object, and no others."""

    model_config = ConfigDict(extra="forbid")


class Object(Part):
    """What every object has; kinds add their `spec`."""

    apiVersion: str  # noqa: N815, the API's names
    kind: str
    metadata: dict[str, Any]


def faults_of(model: type[Object], manifest: Manifest) -> Iterator[Fault]:
    """Validate an object."""
    try:
        model.model_validate(manifest)
    except ValidationError as error:
        for each in error.errors():
            path = ".".join(map(str, each["loc"]))
            yield Fault(f"{place(manifest)}, {path}", each["msg"])
