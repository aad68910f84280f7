import numpy as np

from tuning.reporting.importance import importances
from tuning.space import Params


def test_the_parameter_that_drives_the_score_is_the_most_important() -> None:
    random = np.random.default_rng(1)
    params: list[Params] = [
        {"driver": float(x), "idle": float(y), "constant": 3}
        for x, y in random.uniform(size=(60, 2))
    ]

    shares = importances(params, [float(str(each["driver"])) ** 2 for each in params])

    assert next(iter(shares)) == "driver"
    assert shares["driver"] > 0.8
    assert set(shares) == {"driver", "idle"}
    assert abs(sum(shares.values()) - 1.0) < 1e-9


def test_text_and_branches_take_part() -> None:
    random = np.random.default_rng(1)
    params: list[Params] = [
        {"kind": "good", "a": float(x)} if x > 0.5 else {"kind": "bad", "b": float(x)}
        for x in random.uniform(size=60)
    ]

    shares = importances(params, [1.0 if each["kind"] == "good" else 0.0 for each in params])

    assert set(shares) == {"kind", "a", "b"}
    assert sum(shares.values()) > 0.99


def test_too_little_says_nothing() -> None:
    assert importances([{"x": 1.0}, {"x": 2.0}], [0.1, 0.2]) == {}
    assert importances([{"x": float(n)} for n in range(9)], [0.5] * 9) == {}
    assert importances([{"x": 1.0}] * 9, [float(n) for n in range(9)]) == {}
