"""What the rollouts' tests go by notices what it is there to notice."""

import pytest

from tests.integration.load import Asked, Outcome
from tests.integration.stages import Stage, counted, flips

STAGES = [Stage({"1": 100}, 0.0, 2.0), Stage({"1": 50, "2": 50}, 3.0, 5.0)]
MOVES = {("1", "2")}


def asked(key: str, *answers: tuple[float, str]) -> list[Asked]:
    return [
        Asked(at_s, 0.01, "express", Outcome.RIGHT, key=key, version=version)
        for at_s, version in answers
    ]


def whole(between: str, *late: str) -> list[Asked]:
    """A key with version 1 in the first stage, and others between the two and in the second."""
    second = [(3.0 + number, version) for number, version in enumerate(late)]
    return asked("ada", (0.5, "1"), (1.5, "1"), (2.5, between), *second)


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        pytest.param(whole("1", "1", "1"), [], id="stays"),
        pytest.param(whole("2", "2", "2"), [], id="moves-while-weights-do"),
        pytest.param(whole("3", "1", "1"), ["between"], id="is-elsewhere-in-between"),
        pytest.param(whole("2", "2", "1"), ["had ['2', '1']"], id="flips-in-a-stage"),
        pytest.param(whole("1", "3", "3"), ["moved by {('1', '3')}"], id="moves-as-it-must-not"),
        pytest.param(whole("1", "1"), ["had ['1']"], id="was-looked-at-once"),
        pytest.param(asked("", (0.5, "1")), ["nobody asked"], id="without-keys"),
    ],
)
def test_flips_of_a_routing_key(requests: list[Asked], words: list[str]) -> None:
    found = flips(requests, STAGES, MOVES)

    assert len(found) == len(words)
    for said, expected in zip(found, words, strict=True):
        assert expected in said


def test_what_was_sent_in_a_stage_without_a_key_is_counted() -> None:
    requests = asked("", (1.9, "1"), (2.0, "1"), (3.0, "2"), (4.9, "1")) + asked("ada", (3.5, "2"))

    assert [dict(counted(requests, stage)) for stage in STAGES] == [{"1": 1}, {"2": 1, "1": 1}]
