"""Whether a second version really answers its share, before that is measured."""

import time
import urllib.request

import msgspec

from benchmarks.serving.load import Aim
from benchmarks.serving.running import StartError

WITHIN_S = 60.0
POLL_S = 0.5

SHARE = (0.05, 0.15)
"""Of a tenth among some hundred request ids, each of which always gets the same version."""


class _Response(msgspec.Struct):
    model_version: str


def wait_for_split(aim: Aim) -> float:
    """Return the second version's share of all questions once it is about a tenth.

    Raises:
        StartError: It is far from that, or nothing, for too long.
    """
    deadline_s = time.monotonic() + WITHIN_S
    low, high = SHARE
    # The version may come while the questions are asked, and have a part of its share then.
    while not low <= (share := second_share(aim)) <= high:
        if time.monotonic() > deadline_s:
            what = f"version 2 answered {share:.1%} of the questions, should be about 10 %"
            raise StartError(f"{what}, within {WITHIN_S:g} s")
        time.sleep(POLL_S)
    return share


def second_share(aim: Aim) -> float:
    """Ask every question once, counting the answers of version 2."""
    url = f"http://127.0.0.1:{aim.port}{aim.dialect.path.format(model=aim.workload.model)}"
    seconds = 0
    for position, rows in enumerate(aim.workload.questions):
        question = aim.dialect.encode(position, rows)
        request = urllib.request.Request(url, question.body, dict(question.headers))
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = msgspec.json.decode(response.read(), type=_Response)
        seconds += answer.model_version == "2"
    return seconds / len(aim.workload.questions)
