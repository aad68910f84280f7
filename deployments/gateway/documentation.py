"""The OpenAPI description of the inference doors, and a page that shows it."""

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import orjson
import yaml

from deployments.gateway.http import Answer

DESCRIPTION = Path(__file__).with_name("openapi.yaml")

SCRIPTS = {
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui.css": b"text/css; charset=utf-8",
}
"""Swagger UI's files, which `fastapi-offline` brings along, since FastAPI's own page wants
the internet."""

PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rayfleet inference</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true})
</script>
</body>
</html>
"""


def find_documentation(segments: list[str]) -> Answer | None:
    """What is at a path, given as its segments; None when there is none. May read files."""
    match segments:
        case ["docs"]:
            return Answer(200, PAGE, b"text/html; charset=utf-8")
        case ["openapi.json"]:
            return Answer(200, description())
        case ["docs", script] if script in SCRIPTS:
            return Answer(200, _script(script), SCRIPTS[script])
        case _:
            return None


@cache
def description() -> bytes:
    """The OpenAPI document, as JSON."""
    document = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
    document["info"]["version"] = version("rayfleet")
    return orjson.dumps(document)


@cache
def _script(name: str) -> bytes:
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package fastapi-offline is not installed")
    return (Path(package.origin).parent / "static" / name).read_bytes()
