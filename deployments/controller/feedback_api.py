"""Feedback over the control API."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from deployments.controller.feedback import Feedback, Outcome, Said
from deployments.errors import MalformedRequestError, NotFoundError
from tuning.configfile import KnownKeys

MOST_AT_ONCE = 1_000
"""Requests that one call may be about."""

OneLabel = StrictBool | StrictInt | StrictFloat | StrictStr
Number = StrictInt | StrictFloat


class Item(KnownKeys):
    """What is said of one request."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    """Which model answered it."""

    request_id: Annotated[str, Field(min_length=1, max_length=256)]
    """The `id` in its answer, or the header `X-Request-Id`."""

    label: OneLabel | list[OneLabel] | None = None
    """What would have been right; a list has one for each row."""

    reward: Number | list[Number] | None = None
    """How good the answer was; a list has one for each row."""

    @model_validator(mode="after")
    def _says_something(self) -> "Item":
        if self.label is None and self.reward is None:
            raise ValueError("give a label, a reward or both")
        return self


class Result(BaseModel):
    """What came of it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    request_id: str
    outcome: Literal["counted", "duplicate", "unknown", "late", "refused"]
    version: str | None = None
    """Which answered."""

    reason: str = ""
    """Why it did not count."""


class Results(BaseModel):
    """What came of each, in the order of the request."""

    results: list[Result]


def _count(value: Any) -> str:
    return "<several>" if isinstance(value, list) else "<one>"


Body = Annotated[
    Annotated[Item, Tag("<one>")]
    | Annotated[list[Item], Field(min_length=1, max_length=MOST_AT_ONCE), Tag("<several>")],
    Discriminator(_count),
]


def feedback_router(feedback: Feedback, problems: dict[int | str, dict[str, Any]]) -> APIRouter:
    """Build the routes.

    Args:
        feedback: Counts.
        problems: Descriptions of the statuses of errors.
    """
    router = APIRouter()

    @router.post("/api/v1/feedback", responses=problems)
    async def give_feedback(body: Body) -> Results:
        """Say what would have been right, or how good an answer was, of one request or several.

        One that does not count is an error if it comes alone, else it is named in the answer.
        """
        items = body if isinstance(body, list) else [body]
        said = [Said(each.model, each.request_id, each.label, each.reward) for each in items]
        outcomes = await feedback.take(said)
        if not isinstance(body, list):
            _require_known(outcomes[0])
        return Results(
            results=[
                Result.model_validate(
                    {
                        "model": item.model,
                        "request_id": item.request_id,
                        "outcome": each.outcome,
                        "version": each.version,
                        "reason": each.reason,
                    }
                )
                for item, each in zip(items, outcomes, strict=True)
            ]
        )

    return router


def _require_known(outcome: Outcome) -> None:
    """Make an error of what did not count.

    Raises:
        NotFoundError: Nobody remembers the request.
        MalformedRequestError: What was said does not fit its answer.
    """
    if outcome.outcome in {"unknown", "late"}:
        raise NotFoundError(outcome.reason)
    if outcome.outcome == "refused":
        raise MalformedRequestError(outcome.reason)
