"""What a fleet config says about rollouts: steps, what they are judged by, whom they ask.

Steps and rules are spelled as Argo Rollouts spells them (`setWeight`, `failureLimit`), so
that what people know goes on working; the other keys are ours, with their units.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from deployments.analysisspec import (
    MOST_S,
    AnalysisSpec,
    Percent,
    Seconds,
    SignalKindName,
    listed,
)
from deployments.feedbackspec import FeedbackSettings
from tuning.configfile import Spec, as_yaml, meant

StrategyName = Literal["canary", "blueGreen", "rolling", "ab", "shadow"]

FEEDBACK_KINDS: frozenset[SignalKindName] = frozenset({"mistakes", "reward"})
"""Kinds of signals whose numbers are labels and rewards."""

MOST_STEPS = 100
MOST_HOOKS = 20

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_CONTENT = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""As RFC 9110 has them, section 5."""

HookTypeName = Literal[
    "confirm-rollout", "pre-rollout", "rollout", "confirm-promotion", "post-rollout", "rollback",
    "event",
]  # fmt: skip


class PauseSpec(Spec):
    """A step that waits."""

    duration_s: Seconds | None = None
    """How long, seconds; None waits until somebody approves."""


class AnalysisStepSpec(Spec):
    """A step that waits until the version has shown that it is good enough."""

    at_least_s: Seconds = 0.0
    """Shortest stay, however good the numbers look, seconds."""


class CheckSpec(Spec):
    """A step that sends kept requests to the version, and looks at its answers."""

    requests: str | None = None
    """File of inference requests, one a line, at the controller; None takes the input example
    that was registered with the version."""

    allowed: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of them that may fail, or be answered otherwise than expected."""

    @field_validator("requests")
    @classmethod
    def _is_a_whole_path(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError(f"{value!r}: should be an absolute path, such as /data/{value}")
        return value


class StepSpec(Spec):
    """One step; exactly one of its keys."""

    set_weight: Percent | None = Field(default=None, alias="setWeight")
    """Percent of requests that the new version gets from here on."""

    set_mirror: Percent | None = Field(default=None, alias="setMirror")
    """Percent of stable's requests that the new version also gets from here on, unseen."""

    check: CheckSpec | None = None
    """Ask the version what was kept to ask it."""

    pause: PauseSpec | None = None
    """Wait."""

    analysis: AnalysisStepSpec | None = None
    """Wait for a successful analysis."""

    @model_validator(mode="after")
    def _is_one_step(self) -> Self:
        given = self.model_dump(by_alias=True, exclude_unset=True)
        if len(given) != 1 or None in given.values():
            shown = ", ".join(f"{key}: {as_yaml(value)}" for key, value in given.items())
            n_given = "two" if len(given) == 2 else len(given)
            several = f"{n_given} given, " if len(given) > 1 else ""
            raise ValueError(
                f"{{{shown}}}: {several}a step is one of setWeight, setMirror, check, pause,"
                " analysis"
            )
        return self


class WebhookSpec(Spec):
    """Somebody who is told of a rollout, or asked whether it may go on."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What reasons call it."""

    type: HookTypeName
    """When it is called, and what its answer decides, in Flagger's words."""

    url: str
    """Where JSON is posted; a status of 2xx means yes."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Longest wait for an answer, seconds."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """More attempts where there is no answer, or one of 5xx."""

    headers: dict[str, str] = Field(default={})
    """Sent along."""

    metadata: dict[str, Any] = Field(default={})
    """Goes into the message as it is."""

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r}: should be a header's name, such as X-Team")
            if not HEADER_CONTENT.fullmatch(content):
                raise ValueError(f"{name}: {content!r}: should be one line of Latin-1 text")
        return value

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{value!r}: should be an address such as https://HOST/PATH")
        return value


Steps = Annotated[tuple[StepSpec, ...], Field(max_length=MOST_STEPS), BeforeValidator(listed)]
Webhooks = Annotated[tuple[WebhookSpec, ...], Field(max_length=MOST_HOOKS), BeforeValidator(listed)]


class RolloutSpec(Spec):
    """How a model moves from one version to the next."""

    strategy: StrategyName = "canary"
    """How requests move.

    `canary` by steps; `blueGreen` all at once, after a check with mirrored or kept requests;
    `rolling` as replicas of the new version become ready; `ab` compares versions side by side,
    and `shadow` on mirrored requests alone; these two end with a report and promote nothing.
    """

    steps: Steps = Field(default=())
    """What happens before the promotion; empty takes the strategy's own."""

    analysis: AnalysisSpec = AnalysisSpec()
    """What the version is judged by."""

    webhooks: Webhooks = Field(default=())
    """Whom to tell and ask."""

    max_surge: Annotated[int, Field(ge=1, le=100)] = 25
    """Most percent of requests that a version gains at once; of `rolling` alone."""

    duration_s: Annotated[float, Field(gt=0, le=MOST_S)] | None = None
    """Longest time that `ab` and `shadow` compare, seconds; None: until there is a verdict.

    Other strategies, and a shadow's own steps, have none.
    """

    progress_deadline_s: Annotated[float, Field(gt=0, le=MOST_S)] = 600.0
    """Longest wait for a version to load, or for a verdict, seconds; pauses do not count."""

    on_deadline: Literal["abort", "promote", "hold"] = "abort"
    """What becomes of a version that is still undecided then."""

    keep_previous_s: Seconds = 300.0
    """How long the old version stays warm after a promotion, seconds."""

    @model_validator(mode="after")
    def _hooks_have_names_of_their_own(self) -> Self:
        names = [hook.name for hook in self.webhooks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"webhooks: {twice!r} stands twice")
        return self

    @model_validator(mode="after")
    def _steps_fit_the_strategy(self) -> Self:
        weights = [step.set_weight for step in self.steps if step.set_weight is not None]
        if self.strategy == "canary":
            if weights != sorted(weights) or 100 in weights:
                raise ValueError(f"steps: weights {weights} should not fall, and stay below 100")
            return self
        if weights:
            raise ValueError(f"steps: setWeight is for 'canary', the strategy is {self.strategy!r}")
        if self.steps and self.strategy in {"rolling", "ab"}:
            raise ValueError(f"steps: strategy {self.strategy!r} has steps of its own")
        return self

    @model_validator(mode="after")
    def _analyses_have_something_to_judge(self) -> Self:
        requests = 0
        for index, step in enumerate(self.steps):
            requests = max(requests, step.set_weight or 0, step.set_mirror or 0)
            if step.analysis is not None and not requests and not self.analysis.rules:
                raise ValueError(
                    f"steps[{index}]: an analysis needs a setWeight or setMirror before it"
                )
        return self


Rollout = Annotated[
    Annotated[str, Tag("<template>")] | Annotated[RolloutSpec, Tag("<inline>")],
    Discriminator(lambda value: "<template>" if isinstance(value, str) else "<inline>"),
]


class RolloutSettings(FeedbackSettings):
    """The part of a model's settings that its rollouts go by, which may judge by feedback."""

    rollout: Rollout | None = None
    """How a version with the alias `challenger` earns its traffic: a template's name, or inline.

    None leaves `challenger` to `traffic`; else `traffic` must be left out.
    """

    @model_validator(mode="after")
    def _a_rollout_has_the_traffic(self) -> Self:
        if self.rollout is not None and "traffic" in self.model_fields_set:
            raise ValueError(
                f"traffic: {getattr(self, 'traffic', None)}: with a rollout, leave it out"
            )
        return self


def idle_settings(spec: RolloutSpec) -> Iterator[str]:
    """Find what does nothing under the strategy, as `max_surge: 40: what is allowed`.

    No validator, since a model in the fleet store whose settings are refused is left out.
    """
    strategy = f"the strategy is {spec.strategy!r}"
    only_compares = spec.strategy == "ab" or (spec.strategy == "shadow" and not spec.steps)
    if "max_surge" in spec.model_fields_set and spec.strategy != "rolling":
        yield f"max_surge: {spec.max_surge}: is for 'rolling', {strategy}"
    if spec.duration_s is not None and not only_compares:
        steps = " with steps" if spec.strategy == "shadow" else ""
        yield (
            f"duration_s: {spec.duration_s:g}: is for 'ab', and 'shadow' without steps,"
            f" {strategy}{steps}"
        )
    if spec.on_deadline != "abort" and only_compares:
        yield f"on_deadline: {spec.on_deadline!r}: is for steps that have a deadline, {strategy}"
    for index, hook in enumerate(spec.webhooks):
        if hook.type == "confirm-promotion" and spec.strategy in {"ab", "shadow"}:
            yield f"webhooks[{index}].type: {hook.type!r}: nothing is promoted, {strategy}"


def rollout_fault(settings: RolloutSettings, templates: Mapping[str, RolloutSpec]) -> str | None:
    """Say that a model names no template that there is, or lacks feedback for its rollout.

    Returns:
        None when all is well.
    """
    name = settings.rollout
    if isinstance(name, str) and name not in templates:
        return (
            f"rollout: {name!r}: no such template{meant(name, templates)},"
            f" rollouts: {', '.join(sorted(templates)) or 'none'}"
        )
    return feedback_fault(settings, rollout_of(settings, templates) or RolloutSpec())


def feedback_fault(settings: FeedbackSettings, rollout: RolloutSpec) -> str | None:
    """Say that a rollout judges a model by feedback that it does not take; None if not so."""
    if settings.feedback is not None:
        return None
    for name, signal in rollout.analysis.signals.items():
        if signal.kind in FEEDBACK_KINDS:
            return (
                f"feedback: null: should be set, such as {{}}: the rollout's signal {name!r}"
                f" of kind {signal.kind!r} counts nothing else"
            )
    return None


def rollout_of(
    settings: RolloutSettings, templates: Mapping[str, RolloutSpec]
) -> RolloutSpec | None:
    """How a model's versions are rolled out; None where nobody says, or the name is unknown."""
    given = settings.rollout
    return templates.get(given) if isinstance(given, str) else given
