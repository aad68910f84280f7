import pytest

from tuning.selecting.columns import difference


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param("abc", None, id="the-same"),
        pytest.param("acb", "it knows the columns in another order", id="turned"),
        pytest.param("ab", "it knows other columns: 'c' is gone", id="one-less"),
        pytest.param("abcd", "it knows other columns: 'd' is new", id="one-more"),
        pytest.param(
            "cxy", "it knows other columns: 'a', 'b' are gone and 'x', 'y' are new", id="b"
        ),
        pytest.param(
            "abcdefghij",
            "it knows other columns: 'd', 'e', 'f', 'g', 'h' and 2 more are new",
            id="many",
        ),
    ],
)
def test_columns_differ_in_words(now: str, said: str | None) -> None:
    assert difference(list("abc"), list(now)) == said
