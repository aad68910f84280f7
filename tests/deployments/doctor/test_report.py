"""Findings as people and programs read them."""

import json

from deployments.doctor.checks import Finding, Level
from deployments.doctor.report import as_object, as_text

FINDINGS = [
    Finding("ports", Level.WRONG, "8000 is taken", "end it"),
    Finding("haproxy", Level.OK, "it runs"),
]


def test_what_is_wrong_comes_last_with_its_remedy() -> None:
    assert as_text(FINDINGS).splitlines() == [
        "ok      haproxy   it runs",
        "WRONG   ports     8000 is taken",
        "                  -> end it",
        "1 to mend",
    ]


def test_nothing_wrong_is_said_so() -> None:
    assert as_text(FINDINGS[1:]).splitlines()[-1] == "nothing is wrong"


def test_programs_get_an_object() -> None:
    assert json.loads(as_object(FINDINGS)) == {
        "wrong": True,
        "findings": [
            {"area": "ports", "level": "wrong", "what": "8000 is taken", "remedy": "end it"},
            {"area": "haproxy", "level": "ok", "what": "it runs", "remedy": ""},
        ],
    }
