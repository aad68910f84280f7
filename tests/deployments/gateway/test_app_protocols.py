import json
from typing import Any

import numpy as np
import pytest

from tests.deployments.gateway.hosted import INFER, INVOKE, ROW, SPLIT, Fleet, post

pytestmark = pytest.mark.usefixtures("door")


class TestInfer:
    def test_json(self) -> None:
        response = post(Fleet(), INFER, {**ROW, "id": "42"})

        assert response.json() == {
            "model_name": "churn",
            "model_version": "1",
            "id": "42",
            "outputs": [{"name": "output-0", "datatype": "FP64", "shape": [1], "data": [3.5]}],
        }
        assert response.headers["x-model-version"] == "1"

    def test_binary_both_ways(self) -> None:
        text = json.dumps(
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [1, 2],
                        "datatype": "FP64",
                        "parameters": {"binary_data_size": 16},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        header = {"Inference-Header-Content-Length": str(len(text))}

        response = post(Fleet(), INFER, text + np.array([1.5, 2.0]).tobytes(), headers=header)

        length = int(response.headers["inference-header-content-length"])
        assert response.headers["content-type"] == "application/octet-stream"
        assert np.frombuffer(response.content[length:]).tolist() == [3.5]

    @pytest.mark.parametrize(
        ("headers", "body", "expected"),
        [
            pytest.param({}, {"id": "body"}, "body", id="body"),
            pytest.param({"X-Request-Id": "header"}, {}, "header", id="header"),
            pytest.param({"X-Request-Id": "header"}, {"id": "body"}, "body", id="body-wins"),
            pytest.param({"X-Request-Id": "header"}, {"id": ""}, "header", id="empty"),
        ],
    )
    def test_the_request_s_id_comes_back(
        self, headers: dict[str, str], body: dict[str, str], expected: str
    ) -> None:
        assert post(Fleet(), INFER, ROW | body, headers=headers).json()["id"] == expected

    def test_a_request_without_an_id_is_given_one(self) -> None:
        ids = {post(Fleet(), INFER).json()["id"] for _ in range(2)}

        assert len(ids) == 2
        assert all(ids)

    @pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b", "a\n\nb", "ä€\x00", "\x7f"], ids=ascii)
    def test_no_id_reaches_a_header_unguarded(self, text: str) -> None:
        response = post(Fleet(), INFER, {**ROW, "id": text})

        assert response.json()["id"] == text
        assert "set-cookie" not in response.headers
        assert all(value.isprintable() for value in response.headers.values())

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            pytest.param(b"{", "body", id="no-json"),
            pytest.param(b"", "body", id="empty"),
            pytest.param({"inputs": []}, "x", id="no-inputs"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "name": "y"}]}, "'y'", id="input"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "shape": [2, 2]}]}, "'x'", id="shape"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "datatype": "FP8"}]}, "FP8", id="type"),
            pytest.param({**ROW, "outputs": [{"name": "z"}]}, "'z'", id="output"),
        ],
    )
    def test_what_is_wrong_is_named(self, body: Any, named: str) -> None:
        response = post(Fleet(), INFER, body)

        assert (response.status_code, list(response.json())) == (400, ["error"])
        assert named in response.json()["error"]


class TestInvocations:
    def test_answer(self) -> None:
        response = post(Fleet(), INVOKE, {"inputs": [[1.5, 2.0], [1, 1]]})

        assert response.json() == {"predictions": [3.5, 2.0]}
        assert response.headers["x-model-version"] == "1"

    def test_pinned(self) -> None:
        path = "/models/churn/versions/2/invocations"

        response = post(Fleet(SPLIT), path, {"inputs": [[1, 1]]})

        assert response.headers["x-model-version"] == "2"

    @pytest.mark.parametrize(
        ("path", "body", "content_type", "status", "word"),
        [
            pytest.param(INVOKE, b"{}", None, 415, None, id="no-content-type"),
            pytest.param(INVOKE, b"{}", "text/plain", 415, None, id="content-type"),
            pytest.param(INVOKE, b"{}", "application/json", 400, "BAD_REQUEST", id="no-format"),
            pytest.param(
                "/models/nobody/invocations",
                b"{}",
                "application/json",
                404,
                "ENDPOINT_NOT_FOUND",
                id="unknown-model",
            ),
        ],
    )
    def test_errors_have_mlflow_s_form(
        self, path: str, body: bytes, content_type: str | None, status: int, word: str | None
    ) -> None:
        headers = {"content-type": content_type} if content_type else {}

        response = Fleet()("POST", path, content=body, headers=headers)

        assert response.status_code == status
        if word is None:
            assert response.headers["content-type"].startswith("text/plain")
        else:
            assert response.json()["error_code"] == word
