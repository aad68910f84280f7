from dataclasses import dataclass, field

import pytest

from tuning.selecting.conditions import parse_condition, parse_order


@dataclass(frozen=True)
class Run:
    metrics: dict[str, float] = field(
        default_factory=lambda: {
            "accuracy_mean": 0.9, "odd m": 1.0, "model_bytes": 2e6, "memory_bytes_max": 1024.0,
        }
    )  # fmt: skip
    params: dict[str, str] = field(
        default_factory=lambda: {"estimator": "forest", "depth": "8", "leaf": "None"}
    )
    tags: dict[str, str] = field(default_factory=lambda: {"team": "risk-5%"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("metrics.accuracy_mean >= 0.9", None),
        ("metrics.accuracy_mean > 0.9", "metrics.accuracy_mean > 0.9: is 0.9"),
        ("metric.accuracy_mean<1e0", None),
        ("metrics.`odd m` = 1", None),
        ("metrics.model_bytes <= 2 MB", None),
        ("metrics.model_bytes < 2000kB", "metrics.model_bytes < 2000kB: is 2e+06"),
        ("metrics.model_bytes <= 1.5 MiB", "metrics.model_bytes <= 1.5 MiB: is 2e+06"),
        ("metrics.memory_bytes_max = 1 KiB", None),
        ("params.estimator = 'forest'", None),
        ('params.estimator != "forest"', "params.estimator != \"forest\": is 'forest'"),
        ("params.depth = '8'", None),
        ("params.depth <= 4", "params.depth <= 4: is 8"),
        ("params.depth in (4, 8)", None),
        ("params.depth IN ('4', '8')", None),
        ("params.estimator NOT  IN ('forest')", "params.estimator NOT IN ('forest'): is 'forest'"),
        ("params.estimator > 3", "params.estimator > 3: is 'forest'"),
        ("params.estimator != 3", None),
        ("params.width = 3", "params.width = 3: has none"),
        ("params.leaf = 'None'", None),
        ("tags.team LIKE 'risk-%'", None),
        ("tags.team LIKE 'risk-_%'", None),
        ("tags.team LIKE 'Risk%'", "tags.team LIKE 'Risk%': is 'risk-5%'"),
        ("tags.team ILIKE 'Risk%'", None),
        ("tags.team LIKE '*'", "tags.team LIKE '*': is 'risk-5%'"),
    ],
)
def test_condition(text: str, fault: str | None) -> None:
    assert parse_condition(text).fault(Run()) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy > 0.9", "no condition, allowed: metrics.NAME"),
        ("metrics.accuracy", "no condition"),
        ("runs.x = 1", "unknown 'runs', allowed: metrics, params, tags"),
        ("params.x = forest", "'forest': allowed: a number, or text in quotes"),
        ("params.x = 1.2.3", "'1.2.3': allowed: a number"),
        ("params.x IN 'a'", "IN wants a list"),
        ("params.x LIKE 3", "LIKE wants text"),
        ("metrics.p99_ms <= 5 MB", "only metrics named ..._bytes are compared with MB"),
        ("params.x_bytes <= 5 MB", "only metrics named ..._bytes are compared with MB"),
        ("metrics.model_bytes <= 5 TB", "'5 TB': allowed: a number"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("metrics.m ASC", 1.0),
        ("metrics.m", 1.0),
        ("metrics.m desc", 3.0),
    ],
)
def test_order(text: str, first: float) -> None:
    runs = [Run(metrics={"m": value}) for value in (2.0, 3.0, 1.0)]

    assert min(runs, key=parse_order(text).rank).metrics["m"] == first


def test_whoever_has_nothing_comes_last() -> None:
    runs = [Run(params={}), Run(params={"m": "text"}), Run(params={"m": "5"})]

    ordered = sorted(runs, key=parse_order("params.m DESC").rank)

    assert [run.params.get("m") for run in ordered] == ["5", "text", None]


def test_what_is_no_order() -> None:
    with pytest.raises(ValueError, match=r"no order, allowed: metrics\.NAME DESC"):
        parse_order("metrics.m UPWARDS")
