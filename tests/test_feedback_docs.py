"""What the pages about feedback and webhooks show is what the code does."""

import json
import re

import pytest
from mlflow.entities.webhook import WebhookEvent

from deployments.controller.feedback_api import MOST_AT_ONCE, Item, Result
from deployments.controller.webhooks import DELIVERY, HookType, Webhook, payload
from tests.documents import REPOSITORY, blocks, rows, section

FEEDBACK = REPOSITORY / "docs" / "feedback.md"
WEBHOOKS = REPOSITORY / "docs" / "webhooks.md"


def test_the_fields_of_feedback_are_listed() -> None:
    table = [row[0] for row in rows(section(FEEDBACK, "POST `/api/v1/feedback`"))]

    fields = {f"`{name}`" for name in Item.model_fields}
    outcomes = {f"`{each}`" for each in Result.model_fields["outcome"].annotation.__args__}  # type: ignore[union-attr]
    assert {*table} - {"field", "outcome"} == fields | outcomes
    assert f"{MOST_AT_ONCE:,}" in FEEDBACK.read_text()


def test_the_types_of_webhooks_are_listed() -> None:
    table = [row[0] for row in rows(section(WEBHOOKS, "Webhooks of rollouts"))]

    assert table[1:] == [f"`{each}`" for each in HookType]
    assert DELIVERY in WEBHOOKS.read_text()


def test_the_shown_message_is_sent() -> None:
    (shown,) = (json.loads(block.text) for block in blocks(WEBHOOKS, ""))
    hook = Webhook("gate", HookType.CONFIRM_ROLLOUT, "http://localhost")

    assert shown == payload(hook, model="wine", phase="progressing", checksum="...", metadata={})


@pytest.mark.parametrize("event", re.findall(r'"(model_version_alias\.\w+)"', WEBHOOKS.read_text()))
def test_the_shown_events_are_mlflow_s(event: str) -> None:
    assert str(WebhookEvent(*event.split("."))) == event
