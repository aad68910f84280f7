"""W3C Trace Context: what is taken from a caller, and what is not."""

import pytest

from tuning.tracecontext import MAX_STATE, Parent, parse_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", True, id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", False, id="not-sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", True, id="another-flag-beside-it"),
        pytest.param(f"00-{TRACE}-{SPAN}-02", False, id="another-flag-alone"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-more", True, id="a-later-version"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, id="more-than-this-version-says"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, id="the-forbidden-version"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", None, id="capitals"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="no-trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no-span"),
        pytest.param(f"00-{TRACE}-{SPAN}", None, id="no-flags"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", None, id="a-line-end"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="none"),
    ],
)
def test_a_parent_is_read_as_w3c_says(header: str | None, is_sampled: bool | None) -> None:
    expected = None if is_sampled is None else Parent(TRACE, SPAN, is_sampled)

    assert parse_parent(header) == expected


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"])
def test_a_parent_is_passed_on_as_it_came(header: str) -> None:
    parent = parse_parent(header, "vendor=1")

    assert parent is not None
    assert (parent.header, parent.state) == (header, "vendor=1")


def test_a_state_that_is_too_long_is_left_out_and_the_trace_goes_on() -> None:
    parent = parse_parent(f"00-{TRACE}-{SPAN}-01", "v=" + "x" * MAX_STATE)

    assert parent == Parent(TRACE, SPAN, True)
