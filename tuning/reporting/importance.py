"""Which parameters mattered: how much worse a forest guesses scores without each of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from tuning.space import Params, Scalar

LEAST_TRIALS = 6
"""Fewer say nothing about anything."""

REPEATS = 10
N_TREES = 64
ABSENT = -1.0
"""Code of a parameter that a branch does not have."""


def importances(params: Sequence[Params], scores: Sequence[float]) -> Mapping[str, float]:
    """Share of each parameter in what a random forest knows about the score, the largest first.

    A parameter is shuffled between the trials, and the rise of the forest's error counts.
    Parameters of one branch alone take part, where fANOVA wants all trials to have them all.

    Returns:
        Shares that add up to 1; empty where there are too few trials or nothing varied.

    Source: Breiman, Random Forests, Machine Learning 45 (2001), section 10.
    """
    names = sorted({name for each in params for name in each})
    varied = [name for name in names if len({str(each.get(name)) for each in params}) > 1]
    if len(params) < LEAST_TRIALS or not varied or len(set(scores)) == 1:
        return {}
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415, a second
    from sklearn.inspection import permutation_importance  # noqa: PLC0415, as above

    table = np.column_stack([_column([each.get(name) for each in params]) for name in varied])
    forest = RandomForestRegressor(n_estimators=N_TREES, random_state=0).fit(table, scores)
    found = permutation_importance(forest, table, scores, n_repeats=REPEATS, random_state=0)
    rises = np.maximum(found.importances_mean, 0.0)
    if rises.sum() == 0.0:
        return {}
    shares = rises / rises.sum()
    order = np.argsort(-shares, kind="stable")
    return {varied[index]: float(shares[index]) for index in order}


def _column(values: Sequence[Scalar]) -> list[float]:
    if all(isinstance(value, int | float) or value is None for value in values):
        return [ABSENT if value is None else float(value) for value in values]
    known = sorted({str(value) for value in values})
    return [float(known.index(str(value))) for value in values]
