import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from deployments.controller import outcomes
from tuning.registry import ALIAS
from tuning.selecting.appointing import REASON, VERDICT, lost_alias

ABORTED = {VERDICT: "aborted", REASON: "errors 3 % against 1 %"}


def version(number: int, alias: str | None = None, **tags: str) -> ModelVersion:
    given = tags if alias is None else {ALIAS: alias, **tags}
    tagged = [ModelVersionTag(*tag) for tag in given.items()]  # type: ignore[no-untyped-call]
    return ModelVersion("iris", str(number), 0, tags=tagged)


OLD = version(1, "champion")


@pytest.mark.parametrize(
    ("which", "aliases", "others", "lost"),
    [
        pytest.param(
            version(2), {"champion": "1"}, [], None, id="a-crash-came-before-its-alias"
        ),
        pytest.param(
            version(2, "challenger", **ABORTED), {"champion": "1", "challenger": "2"}, [], None,
            id="it-has-one",
        ),
        pytest.param(
            version(2, "challenger"), {"champion": "2"}, [], None, id="it-was-promoted"
        ),
        pytest.param(
            version(2, "challenger", **ABORTED), {"champion": "1", "challenger": "3"},
            [version(3, "challenger")],
            "its rollout ended, aborted: errors 3 % against 1 %",
            id="its-rollout-ended",
        ),
        pytest.param(
            version(2, "challenger"), {"champion": "1", "stand-in": "2"}, [],
            "it is no longer @challenger",
            id="it-was-taken-away",
        ),
        pytest.param(
            version(3, "challenger"), {"champion": "1", "challenger": "2"},
            [version(2, "challenger")],
            "it is no longer @challenger",
            id="somebody-preferred-an-older-one",
        ),
        pytest.param(
            version(2, "challenger"), {"champion": "1", "challenger": "3"},
            [version(3, "challenger")],
            None,
            id="a-newer-one-got-it",
        ),
        pytest.param(
            version(9, "challenger"), {"champion": "1", "challenger": "10"},
            [version(10, "challenger")],
            None,
            id="numbers-are-no-text",
        ),
        pytest.param(
            OLD, {"champion": "2"}, [version(2, "challenger")], "it is no longer @champion",
            id="another-became-champion",
        ),
    ],
)  # fmt: skip
def test_an_alias_is_lost(
    which: ModelVersion, aliases: dict[str, str], others: list[ModelVersion], lost: str | None
) -> None:
    assert lost_alias(which, aliases, [OLD, which, *others]) == lost


def test_the_fleets_tags_are_meant() -> None:
    assert (VERDICT, REASON) == (outcomes.VERDICT, outcomes.REASON)
