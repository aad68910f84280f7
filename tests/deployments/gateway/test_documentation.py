import json
import re
from typing import Any

import pytest

from deployments.gateway.documentation import SCRIPTS
from tests.deployments.gateway.hosted import Fleet

pytestmark = pytest.mark.usefixtures("door")


def test_the_page_and_all_it_needs_come_from_here() -> None:
    fleet = Fleet()

    page = fleet("GET", "/docs")
    needed = re.findall(r'(?:href|src)="([^"]+)"', page.text)

    assert page.headers["content-type"].startswith("text/html")
    assert sorted(needed) == sorted(f"docs/{name}" for name in SCRIPTS)
    for name in needed:
        script = fleet("GET", f"/{name}")
        assert script.status_code == 200
        assert len(script.content) > 100_000
    assert "http" not in page.text.replace("http-equiv", "")


def test_every_described_path_is_answered() -> None:
    fleet = Fleet()
    document = fleet("GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"]

    for path, item in document["paths"].items():
        real = path.replace("{model}", "churn").replace("{version}", "1")
        for method in set(item) & {"get", "post"}:
            response = fleet(method.upper(), real)
            described = item[method]["responses"]
            assert str(response.status_code) in described, (method, path, response.text)


def test_references_lead_somewhere() -> None:
    document = json.loads(Fleet()("GET", "/openapi.json").content)

    def follow(node: Any) -> None:
        if isinstance(node, dict):
            target: Any = document
            for part in node.get("$ref", "#").split("/")[1:]:
                target = target[part]
            for value in node.values():
                follow(value)
        elif isinstance(node, list):
            for value in node:
                follow(value)

    follow(document)
