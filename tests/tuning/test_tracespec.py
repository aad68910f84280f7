"""What configs and OpenTelemetry's variables may say of traces."""

from collections.abc import Mapping
from typing import Any

import pytest

from tuning.errors import ConfigError
from tuning.tracespec import Sampling, TracesSpec, sampling_of

NAME, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"


@pytest.mark.parametrize(
    ("config", "variables", "expected"),
    [
        pytest.param({}, {}, Sampling(1.0), id="everything-by-default"),
        pytest.param({"sampling": 0.25}, {}, Sampling(0.25), id="config"),
        pytest.param({"sampling": 0.25}, {NAME: "always_on"}, Sampling(0.25), id="config-first"),
        pytest.param({}, {NAME: "always_on"}, Sampling(1.0, False), id="whatever-callers-say"),
        pytest.param({}, {NAME: "always_off"}, Sampling(0.0, False), id="nothing"),
        pytest.param({}, {NAME: "parentbased_always_off"}, Sampling(0.0), id="callers-alone"),
        pytest.param(
            {}, {NAME: "parentbased_traceidratio", ARGUMENT: "0.1"}, Sampling(0.1), id="a-share"
        ),
        pytest.param({}, {NAME: "traceidratio"}, Sampling(1.0, False), id="a-share-not-said"),
        pytest.param({"sampling": 1.0}, {"OTEL_SDK_DISABLED": "TRUE"}, None, id="disabled"),
    ],
)
def test_who_decides(
    config: Mapping[str, Any], variables: Mapping[str, str], expected: Sampling | None
) -> None:
    assert sampling_of(TracesSpec(**config), variables) == expected


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        pytest.param(
            {NAME: "jaeger_remote"},
            "OTEL_TRACES_SAMPLER: 'jaeger_remote', allowed: always_on, always_off, traceidratio, "
            "parentbased_always_on, parentbased_always_off, parentbased_traceidratio",
            id="unknown",
        ),
        pytest.param(
            {NAME: "traceidratio", ARGUMENT: "10 %"},
            "OTEL_TRACES_SAMPLER_ARG: '10 %', allowed: a number from 0 to 1",
            id="no-number",
        ),
        pytest.param(
            {NAME: "traceidratio", ARGUMENT: "2"},
            "OTEL_TRACES_SAMPLER_ARG: '2', allowed: a number from 0 to 1",
            id="more-than-all",
        ),
    ],
)
def test_a_variable_that_means_nothing_is_one_line(
    variables: Mapping[str, str], fault: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        sampling_of(TracesSpec(), variables)

    assert str(raised.value) == fault


@pytest.mark.parametrize(
    ("sampling", "parent", "taken"),
    [
        pytest.param(Sampling(0.5), None, True, id="below-the-share"),
        pytest.param(Sampling(0.3), None, False, id="at-the-share"),
        pytest.param(Sampling(0.0), True, True, id="its-caller-s-yes"),
        pytest.param(Sampling(1.0), False, False, id="its-caller-s-no"),
        pytest.param(Sampling(1.0, False), False, True, id="its-caller-not-asked"),
    ],
)
def test_one_decision(sampling: Sampling, parent: bool | None, taken: bool) -> None:
    assert sampling.takes(parent, lambda: 0.3) is taken


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"endpoint": "collector:4318"}, "endpoint: 'collector:4318': should be such as"),
        ({"endpoint": "grpc://collector:4317"}, "should be such as 'http://collector:4318'"),
        ({"endpoint": "http://key@collector:4318"}, "belongs in OTEL_EXPORTER_OTLP_HEADERS"),
        ({"sampling": 1.5}, "sampling: 1.5"),
        ({"sample": 0.1}, "sample"),
    ],
)
def test_a_bad_config_says_what_is_allowed(value: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TracesSpec.load(value, where="fleet.yaml", path="args.traces")

    assert fault in str(raised.value)
