"""What a model's settings say about feedback: which answers are remembered, and for how long."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tuning.configfile import Spec

MOST_REMEMBERED = 10_000_000


class FeedbackSpec(Spec):
    """Which answers of a model are remembered for labels and rewards that come later."""

    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of requests that are remembered, chosen by their ids."""

    window_s: Annotated[float, Field(gt=0, le=31_536_000)] = 3600.0
    """How long after the answer a label or reward may come, seconds."""

    max_requests: Annotated[int, Field(gt=0, le=MOST_REMEMBERED)] = 100_000
    """Requests that are remembered at a time; beyond it the oldest are forgotten early."""

    output: str | None = None
    """The output that labels are compared with; None takes the first."""

    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """How far a number may be from its label without being a mistake."""

    reward_low: float = 0.0
    """Lowest reward; one below counts as this."""

    reward_high: float = 1.0
    """Highest reward; one above counts as this."""

    @model_validator(mode="after")
    def _rewards_have_a_range(self) -> Self:
        if not self.reward_low < self.reward_high:
            raise ValueError(
                f"reward_low {self.reward_low:g} is not below reward_high {self.reward_high:g}"
            )
        return self


class FeedbackSettings(Spec):
    """The part of a model's settings that feedback goes by."""

    feedback: FeedbackSpec | None = None
    """Which answers are remembered for labels and rewards; None remembers none."""
