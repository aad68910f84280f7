from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from deployments.telemetry import (
    BATCH,
    ERRORS,
    FAMILIES,
    IN_FLIGHT,
    LATENCY,
    REQUESTS,
    REVISION,
    Counters,
    Kind,
    Snapshot,
    exposition,
)
from tests.properties import examples

VERSION = ("churn", "1", "stable")
REQUEST = (*VERSION, "open_inference")
ORDER = ("gateway", "model", "version", "track", "protocol", "code", "origin", "le")


def parsed(*snapshots: Snapshot) -> dict[str, Any]:
    """Families by name, as Prometheus reads them."""
    text = exposition(snapshots).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family: Any, suffix: str = "") -> dict[tuple[str, ...], float]:
    """Values by the labels that tell them apart, the gateway first."""
    return {
        tuple(sample.labels[name] for name in ORDER if name in sample.labels): sample.value
        for sample in family.samples
        if sample.name == family.name + suffix
    }


def test_every_family_has_a_name_a_help_and_a_gateway() -> None:
    families = parsed(Counters("a").snapshot())

    assert {(f.name, f.type) for f in families.values()} == {
        (family.name, str(family.kind)) for family in FAMILIES
    }
    assert all(family.documentation for family in families.values())


def test_counters_of_two_gateways_stay_apart() -> None:
    one, two = Counters("a"), Counters("b")
    one.add(REQUESTS, (*REQUEST, "200"))
    one.add(REQUESTS, (*REQUEST, "200"))
    two.add(REQUESTS, (*REQUEST, "503"), 5)
    two.add(ERRORS, (*REQUEST, "503", "fleet"), 5)

    families = parsed(one.snapshot(), two.snapshot())

    assert samples(families[REQUESTS.name], "_total") == {
        ("a", *REQUEST, "200"): 2,
        ("b", *REQUEST, "503"): 5,
    }
    assert samples(families[ERRORS.name], "_total") == {("b", *REQUEST, "503", "fleet"): 5}
    assert set(families[ERRORS.name].samples[0].labels) == {*ORDER} - {"le"}


@pytest.mark.parametrize(
    ("rows", "edge"),
    [
        pytest.param(1, 1.0, id="on-an-edge"),
        pytest.param(3, 4.0, id="between-edges"),
        pytest.param(1024, 1024.0, id="on-the-last"),
        pytest.param(1025, float("inf"), id="above-all"),
    ],
)
def test_a_value_is_in_the_first_bucket_that_reaches_it(rows: int, edge: float) -> None:
    counters = Counters("a")

    counters.observe(BATCH, VERSION, rows)

    buckets = samples(parsed(counters.snapshot())[BATCH.name], "_bucket")
    by_edge = {float(labels[-1]): value for labels, value in buckets.items()}
    assert min(limit for limit, count in by_edge.items() if count) == edge


@examples(30)
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 3)), min_size=1))
def test_buckets_are_cumulative_and_agree_with_count_and_sum(
    values: list[tuple[float, int]],
) -> None:
    counters = Counters("a")
    for value, times in values:
        counters.observe(LATENCY, REQUEST, value, times)

    family = parsed(counters.snapshot())[LATENCY.name]

    buckets = [value for _, value in sorted(
        (float(labels[-1]), count) for labels, count in samples(family, "_bucket").items()
    )]  # fmt: skip
    n_values = sum(times for _, times in values)
    assert all(low <= high for low, high in pairwise(buckets))
    assert buckets[-1] == n_values == samples(family, "_count")["a", *REQUEST]
    total = sum(value * times for value, times in values)
    assert samples(family, "_sum")["a", *REQUEST] == pytest.approx(total)


def test_gauges_go_up_and_down() -> None:
    counters = Counters("a")
    counters.add(IN_FLIGHT, VERSION)
    counters.add(IN_FLIGHT, VERSION)
    counters.add(IN_FLIGHT, VERSION, -1)
    counters.set(REVISION, (), 7)

    families = parsed(counters.snapshot())

    assert samples(families[IN_FLIGHT.name]) == {("a", *VERSION): 1}
    assert samples(families[REVISION.name]) == {("a",): 7}


def test_a_gateway_that_is_gone_keeps_its_totals_only() -> None:
    counters = Counters("a")
    counters.add(IN_FLIGHT, VERSION)
    counters.add(REQUESTS, (*REQUEST, "200"))
    counters.observe(BATCH, VERSION, 3)

    families = parsed(counters.snapshot().without_gauges())

    assert all(not family.samples for family in families.values() if family.type == Kind.GAUGE)
    assert samples(families[REQUESTS.name], "_total")
    assert samples(families[BATCH.name], "_count")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "ä"], ids=ascii)
def test_no_label_breaks_the_text(name: str) -> None:
    counters = Counters("a")
    counters.add(REQUESTS, (name, *REQUEST[1:], "200"))

    families = parsed(counters.snapshot())

    assert samples(families[REQUESTS.name], "_total") == {("a", name, *REQUEST[1:], "200"): 1}


def test_snapshots_are_numbered_and_do_not_change_afterwards() -> None:
    counters = Counters("a")
    counters.observe(BATCH, VERSION, 1)
    first = counters.snapshot()
    counters.observe(BATCH, VERSION, 1)
    second = counters.snapshot()

    assert (first.sequence, second.sequence) == (1, 2)
    assert sum(first.families[BATCH.name][0].counts) == 1


def test_a_snapshot_survives_the_store() -> None:
    counters = Counters("a")
    counters.add(REQUESTS, (*REQUEST, "200"), 3)
    counters.observe(LATENCY, REQUEST, 0.2)
    snapshot = counters.snapshot()

    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot
