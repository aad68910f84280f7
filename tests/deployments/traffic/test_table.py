import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.protocols.tensors import Layout, Signature, TensorSpec
from deployments.traffic.table import (
    EMPTY,
    Batching,
    ModelRoutes,
    Route,
    RouteState,
    RoutingTable,
    Track,
    decode_revision,
    decode_table,
    encode_table,
)
from tests.fakes import make_route, make_table
from tests.properties import examples

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SPECS = st.builds(
    TensorSpec,
    name=TEXT,
    datatype=st.sampled_from(["FP32", "BYTES"]),
    shape=st.lists(st.integers(-1, 9), max_size=3).map(tuple),
    required=st.booleans(),
    mlflow_type=TEXT,
)
SIGNATURES = st.builds(
    Signature,
    layout=st.sampled_from(Layout),
    inputs=st.lists(SPECS, max_size=2).map(tuple),
    outputs=st.lists(SPECS, max_size=2).map(tuple),
    mlflow=st.dictionaries(TEXT, TEXT | st.none(), max_size=2),
)
ROUTES = st.builds(
    Route,
    version=TEXT,
    track=st.sampled_from(Track),
    weight=st.integers(0, 100),
    application=TEXT,
    state=st.sampled_from(RouteState),
    replicas=st.integers(0, 9),
    signature=SIGNATURES,
    platform=TEXT,
    reason=TEXT,
    start=st.integers(0, 100) | st.none(),
)
MODELS = st.builds(
    ModelRoutes,
    routes=st.lists(ROUTES, max_size=3).map(tuple),
    batching=st.builds(Batching, st.integers(1, 9), st.floats(0, 1), st.just(1), st.just(1)),
    deadline_s=st.floats(0.1, 100),
)


@examples(100)
@given(
    st.builds(
        RoutingTable,
        revision=st.integers(0, 10**9),
        models=st.dictionaries(TEXT, MODELS, max_size=2),
        settled=st.booleans(),
    )
)
def test_a_table_survives_the_way_to_the_gateways(table: RoutingTable) -> None:
    # Equality is what the controller judges by whether anything changed.
    assert decode_table(encode_table(table)) == table


def test_a_table_has_no_field_that_it_does_not_need() -> None:
    table = make_table(m=(make_route(version="2", weight=10, track=Track.CANARY), make_route()))

    canary = msgspec.json.decode(encode_table(table))["models"]["m"]["routes"][0]

    # An earlier release, which knows fewer, would refuse it: here it can still read the table.
    assert set(canary) == {
        "version", "track", "weight", "application", "state", "replicas", "signature", "platform",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"revision": 1, "models": {}, "arms": 3}', id="unknown-field"),
        pytest.param(b'{"models": {}}', id="no-revision"),
        pytest.param(b'{"revision": "1", "models": {}}', id="wrong-type"),
        pytest.param(
            encode_table(make_table(m=(make_route(),))).replace(b'"stable"', b'"arm-9"'),
            id="unknown-track",
        ),
    ],
)
def test_a_table_of_another_release_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_table(body)


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        pytest.param(b'{"revision": 7, "models": {}, "arms": 3}', 7, id="other-release"),
        pytest.param(b'{"models": {}}', 0, id="no-revision"),
        pytest.param(b"\x00", 0, id="no-table"),
    ],
)
def test_a_table_of_another_release_still_tells_its_revision(body: bytes, revision: int) -> None:
    assert decode_revision(body) == revision


def test_stable_is_found_by_its_track_and_versions_by_their_number() -> None:
    canary = make_route(version="2", weight=10, track=Track.CANARY)
    stable = make_route(version="1", weight=90)

    routes = make_table(churn=(canary, stable)).models["churn"]

    assert (routes.stable, routes.route("2"), routes.route("3")) == (stable, canary, None)
    assert routes.ready


def test_a_model_without_weights_is_not_ready() -> None:
    loading = make_route(weight=0, state=RouteState.LOADING)

    assert not make_table(m=(loading,)).models["m"].ready
    assert not make_table(m=()).models["m"].ready
    assert make_table(m=()).models["m"].stable is None
    assert EMPTY.revision == 0
