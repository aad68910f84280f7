from typing import Any

import pytest

from tests.documents import REPOSITORY
from tuning.configfile import read_spec
from tuning.errors import ConfigError
from tuning.selecting.rules import SelectionSpec

MINIMAL: dict[str, Any] = {"name": "best", "model": "iris"}


def test_the_rules_that_ship_are_valid() -> None:
    spec = read_spec(REPOSITORY / "configs" / "selection.yaml", SelectionSpec)

    assert spec.require_better is not None
    assert {str(key) for key in spec.keys} >= {"params.estimator", "metrics.accuracy_min"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"filter": []},
            "unknown key 'filter' (did you mean 'filters'?), allowed: comparable_by, constraints,",
        ),
        ({"filters": ["accuracy > 1"]}, "filters[0]: 'accuracy > 1': no condition, allowed: met"),
        ({"filters": "a"}, "filters: 'a': should be a list"),
        ({"tie_breaks": ["params.x UP"]}, "tie_breaks[0]: 'params.x UP': no order, allowed: m"),
        ({"parsimony": {}}, "parsimony.prefer: is missing"),
        ({"parsimony": {"prefer": []}}, "parsimony.prefer: []: should not be empty"),
        ({"metric": "accuracy_mean"}, "metric: 'accuracy_mean': allowed: the metric itself, such"),
        ({"require_better": {"alpha": 1}}, "require_better.alpha: 1: should be less than 0.5"),
        ({"comparable_by": "luck"}, "comparable_by: 'luck': should be 'folds', 'data' or 'no"),
        ({"sweeps": []}, "sweeps: []: should not be empty"),
    ],
)
def test_a_fault_is_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SelectionSpec.load({**MINIMAL, **changes}, where="rules.yaml")

    assert str(refused.value).startswith(f"rules.yaml: {line}")
    assert "\n" not in str(refused.value)
