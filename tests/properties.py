"""How many examples the tests of properties try."""

from hypothesis import settings

BRIEF = "brief"
"""The profile of `make test-fast`: a fifth of the examples, all of which `make test` tries."""


def examples(count: int) -> settings:
    """Try as many examples, however long one takes on a busy machine."""
    brief = settings.get_current_profile_name() == BRIEF
    return settings(max_examples=max(10, count // 5) if brief else count, deadline=None)
