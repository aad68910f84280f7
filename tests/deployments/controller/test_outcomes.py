"""What a rollout leaves in a real registry, done once or several times."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from deployments.controller.outcomes import (
    ENDED_AT,
    MOST_CHARACTERS,
    REASON,
    ROLLOUT_ID,
    VERDICT,
    Left,
    clear_alias,
    outcome_tags,
    set_alias,
    tag_version,
)
from tests.stores import new_mlflow

pytestmark = pytest.mark.ray


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    """A registry with versions 1 to 3 of wine; 1 is champion and 2 challenger."""
    uri = new_mlflow(tmp_path)
    client = MlflowClient(uri, uri)
    client.create_registered_model("wine")
    for _ in range(3):
        client.create_model_version("wine", "file:///nowhere")
    client.set_registered_model_alias("wine", "champion", "1")
    client.set_registered_model_alias("wine", "challenger", "2")
    return client


def aliases(client: MlflowClient) -> dict[str, str]:
    return {k: str(v) for k, v in client.get_registered_model("wine").aliases.items()}


def test_a_promotion_may_be_repeated(client: MlflowClient) -> None:
    for _ in range(2):
        assert set_alias(client, "wine", "champion", "2", expected="1") is Left.DONE
        assert clear_alias(client, "wine", "challenger", "2") is Left.DONE

    assert aliases(client) == {"champion": "2"}


def test_an_alias_that_was_moved_is_left_alone(client: MlflowClient) -> None:
    client.set_registered_model_alias("wine", "champion", "3")
    client.set_registered_model_alias("wine", "challenger", "1")

    assert set_alias(client, "wine", "champion", "2", expected="1") is Left.MOVED
    assert set_alias(client, "wine", "champion", "2", expected=None) is Left.MOVED
    assert clear_alias(client, "wine", "challenger", "2") is Left.MOVED

    assert aliases(client) == {"champion": "3", "challenger": "1"}


def test_the_first_champion(client: MlflowClient) -> None:
    client.delete_registered_model_alias("wine", "champion")

    assert set_alias(client, "wine", "champion", "2", expected="1") is Left.MOVED
    assert set_alias(client, "wine", "champion", "2", expected=None) is Left.DONE

    assert aliases(client)["champion"] == "2"


def test_a_version_that_was_deleted(client: MlflowClient) -> None:
    client.delete_model_version("wine", "2")

    assert set_alias(client, "wine", "champion", "2", expected="1") is Left.GONE
    assert tag_version(client, "wine", "2", {"a": "b"}) is Left.GONE
    assert clear_alias(client, "wine", "challenger", "2") is Left.DONE

    assert aliases(client) == {"champion": "1"}


def test_a_model_that_was_deleted(client: MlflowClient) -> None:
    client.delete_registered_model("wine")

    assert set_alias(client, "wine", "champion", "2", expected="1") is Left.GONE
    assert clear_alias(client, "wine", "champion", "1") is Left.GONE
    assert tag_version(client, "wine", "1", {"a": "b"}) is Left.GONE


def test_tags_lead_to_the_rollout(client: MlflowClient) -> None:
    tags = outcome_tags("r1", "failed", "größer\n" + "x" * 10_000, 1_700_000_000.25)

    for _ in range(2):
        assert tag_version(client, "wine", "2", tags) is Left.DONE

    found = client.get_model_version("wine", "2").tags
    assert found == {
        ROLLOUT_ID: "r1", VERDICT: "failed", ENDED_AT: "2023-11-14T22:13:20+00:00",
        REASON: ("größer\n" + "x" * 10_000)[:MOST_CHARACTERS],
    }  # fmt: skip


def test_a_registry_that_is_away_is_no_missing_version(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = MlflowClient("http://127.0.0.1:9", "http://127.0.0.1:9")

    with pytest.raises(MlflowException):
        set_alias(away, "wine", "champion", "2", expected="1")
    with pytest.raises(MlflowException):
        tag_version(away, "wine", "2", {"a": "b"})
