"""Settings of rollouts: what they read, and the one line for what they refuse."""

from typing import Any

import pytest

from deployments.analysisspec import interval_s
from deployments.rolloutspec import RolloutSpec, idle_settings, rollout_of
from deployments.userconfig import ModelsSpec
from tuning.errors import ConfigError

CAREFUL = {
    "steps": [
        {"setWeight": 5},
        {"pause": {"duration_s": 60}},
        {"analysis": {}},
        {"setMirror": 100},
        {"setWeight": 25},
        {"pause": {}},
    ],
    "analysis": {
        "signals": {
            "errors": {"kind": "errors", "allowed": 0.01},
            "slow": {"kind": "slow", "target_s": 0.05, "allowed": 0.02},
            "differing": {"kind": "differing"},
        },
        "rules": [
            {
                "name": "p99",
                "query": "up",
                "successCondition": "result[0] < 0.1",
                "interval": "30s",
                "count": 5,
                "failureLimit": 1,
            }
        ],
    },
    "webhooks": [{"name": "gate", "type": "confirm-rollout", "url": "http://127.0.0.1/gate"}],
}


def load(rollout: Any, **settings: Any) -> ModelsSpec:
    models = {"m": {"rollout": rollout, **settings}}
    return ModelsSpec.load({"models": models, "rollouts": {"careful": CAREFUL}}, where="FILE")


def test_a_template_is_what_its_models_get() -> None:
    spec = load("careful")

    found = rollout_of(spec.models["m"], spec.rollouts)

    assert found is not None
    assert [step.set_weight for step in found.steps] == [5, None, None, None, 25, None]
    assert found.analysis.rules[0].failure_limit == 1
    assert found == rollout_of(load(CAREFUL).models["m"], {})
    assert rollout_of(load(None).models["m"], spec.rollouts) is None


@pytest.mark.parametrize(
    ("rollout", "line"),
    [
        pytest.param(
            "carefull",
            "FILE: models.m.rollout: 'carefull': no such template (did you mean 'careful'?),"
            " rollouts: careful",
            id="unknown-template",
        ),
        pytest.param(
            {"steps": [{"setWeight": 101}]},
            "FILE: models.m.rollout.steps[0].setWeight: 101: should be less than or equal to 100",
            id="weight",
        ),
        pytest.param(
            {"steps": [{"setWeight": 5, "pause": {}}]},
            "FILE: models.m.rollout.steps[0]: {setWeight: 5, pause: {}}: two given, a step is one"
            " of setWeight, setMirror, check, pause, analysis",
            id="two-steps-in-one",
        ),
        pytest.param(
            {"steps": [{}]},
            "FILE: models.m.rollout.steps[0]: {}: a step is one of setWeight, setMirror, check,"
            " pause, analysis",
            id="no-step",
        ),
        pytest.param(
            {"steps": [{"pause": None}]},
            "FILE: models.m.rollout.steps[0]: {pause: null}: a step is one of setWeight,"
            " setMirror, check, pause, analysis",
            id="step-that-is-null",
        ),
        pytest.param(
            {"analysis": {"signals": {"wrong": {"kind": "mistakes"}}}},
            "FILE: models.m.feedback: null: should be set, such as {}: the rollout's signal"
            " 'wrong' of kind 'mistakes' counts nothing else",
            id="mistakes-without-feedback",
        ),
        pytest.param(
            {"steps": [{"check": {"requests": "kept.jsonl"}}]},
            "FILE: models.m.rollout.steps[0].check.requests: 'kept.jsonl': should be an absolute"
            " path, such as /data/kept.jsonl",
            id="relative-file",
        ),
        pytest.param(
            {"steps": [{"setWeight": 50}, {"setWeight": 5}]},
            "FILE: models.m.rollout: steps: weights [50, 5] should not fall, and stay below 100",
            id="falling",
        ),
        pytest.param(
            {"steps": [{"analysis": {}}]},
            "FILE: models.m.rollout: steps[0]: an analysis needs a setWeight or setMirror before"
            " it",
            id="nothing-to-judge",
        ),
        pytest.param(
            {"strategy": "blueGreen", "steps": [{"setWeight": 5}]},
            "FILE: models.m.rollout: steps: setWeight is for 'canary', the strategy is 'blueGreen'",
            id="weight-of-another-strategy",
        ),
        pytest.param(
            {"analysis": {"signals": {"slow": {"kind": "slow"}}}},
            "FILE: models.m.rollout.analysis.signals.slow: target_s or quantile: 'slow' needs one"
            " of them, and nothing else",
            id="slow-without-a-target",
        ),
        pytest.param(
            {"analysis": {"rules": [{"name": "p99", "query": "up", "interval": "soon"}]}},
            "FILE: models.m.rollout.analysis.rules[0].interval: 'soon': should be a duration such"
            " as 30s, 5m or 1h",
            id="duration",
        ),
        pytest.param(
            {
                "analysis": {
                    "rules": [
                        {"name": "e", "signal": "errors", "successCondition": "result[0] < 1"}
                    ]
                }
            },
            "FILE: models.m.rollout.analysis: rules[0].signal: 'errors': no such signal, signals:"
            " none",
            id="unknown-signal",
        ),
        pytest.param(
            {"analysis": {"rules": [{"name": "e", "query": "up"}]}},
            "FILE: models.m.rollout.analysis.rules[0]: successCondition or failureCondition: give"
            " one of them, or both",
            id="rule-without-a-condition",
        ),
        pytest.param(
            {
                "webhooks": [
                    {"name": "g", "type": "event", "url": "http://g", "headers": {"a": "b\nc"}}
                ]
            },
            "FILE: models.m.rollout.webhooks[0].headers: a: 'b\\nc': should be one line of Latin-1"
            " text",
            id="content-of-a-header",
        ),
        pytest.param(
            {
                "webhooks": [
                    {"name": "g", "type": "event", "url": "http://g", "headers": {"a b": "c"}}
                ]
            },
            "FILE: models.m.rollout.webhooks[0].headers: 'a b': should be a header's name, such as"
            " X-Team",
            id="name-of-a-header",
        ),
        pytest.param(
            {"webhooks": [{"name": "gate", "type": "event", "url": "gate"}]},
            "FILE: models.m.rollout.webhooks[0].url: 'gate': should be an address such as"
            " https://HOST/PATH",
            id="address",
        ),
    ],
)
def test_settings_that_are_refused(rollout: Any, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(rollout)

    assert str(refused.value) == line


@pytest.mark.parametrize("strategy", ["canary", "ab"])
def test_a_template_that_judges_by_feedback_is_for_models_that_take_it(strategy: str) -> None:
    signals = {"pay": {"kind": "reward", "allowed": 0.1}}
    rollouts = {"paid": {"strategy": strategy, "analysis": {"signals": signals}}}
    config = {"models": {"m": {"rollout": "paid", "feedback": {}}}, "rollouts": rollouts}

    ModelsSpec.load(config)
    pools = {"p": {"settings": {"rollout": "paid"}}}
    with pytest.raises(ConfigError, match=r"^pools\.p\.settings\.feedback: null: .*'reward'"):
        ModelsSpec.load(config | {"pools": pools})


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        pytest.param(
            {"strategy": "canary", "duration_s": 5},
            ["duration_s: 5: is for 'ab', and 'shadow' without steps, the strategy is 'canary'"],
            id="time-of-a-canary",
        ),
        pytest.param(
            {"strategy": "shadow", "duration_s": 5, "steps": [{"setMirror": 100}]},
            [(
                "duration_s: 5: is for 'ab', and 'shadow' without steps, the strategy is"
                " 'shadow' with steps"
            )],
            id="time-of-steps",
        ),
        pytest.param(
            {"strategy": "blueGreen", "max_surge": 25},
            ["max_surge: 25: is for 'rolling', the strategy is 'blueGreen'"],
            id="surge",
        ),
        pytest.param(
            {
                "strategy": "ab",
                "on_deadline": "hold",
                "webhooks": [{"name": "g", "type": "confirm-promotion", "url": "http://g"}],
            },
            [
                "on_deadline: 'hold': is for steps that have a deadline, the strategy is 'ab'",
                "webhooks[0].type: 'confirm-promotion': nothing is promoted, the strategy is 'ab'",
            ],
            id="end-of-a-comparison",
        ),
        pytest.param({"strategy": "shadow", "duration_s": 5}, [], id="time-of-a-shadow"),
        pytest.param({"strategy": "rolling", "max_surge": 40}, [], id="surge-of-rolling"),
        pytest.param({"duration_s": None}, [], id="null"),
    ],
)  # fmt: skip
def test_settings_that_do_nothing_under_the_strategy(
    settings: dict[str, Any], lines: list[str]
) -> None:
    assert list(idle_settings(RolloutSpec.load(settings))) == lines


def test_a_rollout_and_a_split_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"models\.m: traffic: .*leave it out"):
        load("careful", traffic={"champion": 90, "challenger": 10})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("soon", 0), ("", 0), ("30", 0)],
)
def test_durations_as_argo_spells_them(text: str, seconds: float) -> None:
    assert interval_s(text) == seconds
