"""Whether an API server would take the objects: Kubernetes' own schemas, and KubeRay's.

KubeRay's come from its CRDs, as files `KIND.json` with `group`, `version`, `kind` and
`openAPIV3Schema`, in the folder that KUBERAY_SCHEMAS names or in `shared/kuberay-crds` beside
the repository.
"""

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from kuberay.checks import gateway_api, partial, prometheus_operator
from kuberay.checks.objects import Fault, Manifest, place
from kuberay.checks.project import REPOSITORY

VARIABLE = "KUBERAY_SCHEMAS"

KUBERNETES = "1.37"
"""Version of the schemas; older API servers know all that we use from 1.27 on."""

PARTIAL = {
    (version, kind): model
    for kinds in (gateway_api.KINDS, prometheus_operator.KINDS)
    for (version, kind), model in kinds.items()
}
"""Models of the kinds that neither Kubernetes nor KubeRay has, by `apiVersion` and `kind`."""

Schemas = Mapping[tuple[str, str], Mapping[str, Any]]
"""By `apiVersion` and `kind`."""


def schema_folder() -> Path | None:
    """Where KubeRay's schemas are; None where they are not to be had."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "kuberay-crds"
    return folder if any(folder.glob("*.json")) else None


def read_schemas(folder: Path) -> Schemas:
    """Read KubeRay's schemas."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        crd = json.loads(path.read_text())
        found[f"{crd['group']}/{crd['version']}", crd["kind"]] = crd["openAPIV3Schema"]
    return found


def check_schemas(objects: Sequence[Manifest], kuberay: Schemas) -> Iterator[Fault]:
    """Validate every object, unknown fields included."""
    for manifest in objects:
        key = str(manifest.get("apiVersion")), str(manifest.get("kind"))
        if key in kuberay:
            yield from _kuberay_faults(manifest, kuberay[key])
        elif key in PARTIAL:
            yield from partial.faults_of(PARTIAL[key], manifest)
        else:
            yield from _core_faults(manifest)


def _core_faults(manifest: Manifest) -> Iterator[Fault]:
    try:
        kubernetes_validate.validate(dict(manifest), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield Fault(f"{place(manifest)}, {'.'.join(map(str, error.path))}", error.message)
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError):
        what = f"there is no schema for {manifest.get('apiVersion')}"
        yield Fault(place(manifest), what)


def _kuberay_faults(manifest: Manifest, schema: Mapping[str, Any]) -> Iterator[Fault]:
    strict = _closed(schema)
    # The API server knows metadata better than a CRD does.
    strict["properties"]["metadata"] = {"type": "object"}
    value = _admitted(copy.deepcopy(dict(manifest)), schema)
    for error in jsonschema.Draft202012Validator(strict).iter_errors(value):
        path = ".".join(map(str, error.absolute_path))
        yield Fault(f"{place(manifest)}, {path}", error.message[:200])


def _closed(schema: Any) -> Any:
    """A JSON schema that refuses unknown fields, of a CRD's."""
    if not isinstance(schema, Mapping):
        return schema
    closed = {
        key: _closed(value) if key in {"items", "additionalProperties"} else value
        for key, value in schema.items()
        if not key.startswith("x-kubernetes")
    }
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
        closed.pop("anyOf", None)
    if schema.get("nullable"):
        closed["type"] = [schema["type"], "null"]
    if "properties" in schema:
        closed["properties"] = {name: _closed(each) for name, each in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    return closed


def _admitted(value: Any, schema: Any) -> Any:
    """A value as the API server stores it: without nulls, with the schema's defaults."""
    if isinstance(value, list):
        return [_admitted(each, schema.get("items", {})) for each in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    other = schema.get("additionalProperties")
    other = other if isinstance(other, Mapping) else {}
    admitted = {
        key: _admitted(inner, properties.get(key, other))
        for key, inner in value.items()
        if inner is not None or properties.get(key, other).get("nullable")
    }
    for key, inner in properties.items():
        if key not in admitted and "default" in inner:
            admitted[key] = copy.deepcopy(inner["default"])
    return admitted
