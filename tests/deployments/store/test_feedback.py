"""What feedback in the store owes, on SQLite, and on PostgreSQL where a server may be started."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.store.feedback import FeedbackStore, FeedbackTotals, Heard, RememberedRow
from deployments.store.store import FleetStore
from tests.deployments.store.databases import empty, ready
from tests.fleetstores import migrated

ROW = RememberedRow("wine", "q1", "2", b"[1]", 1_000.5)
MISTAKE = FeedbackTotals(labels=1, mistakes=1)
REWARD = FeedbackTotals(rewards=1, reward_total=0.5, reward_squares=0.25)


class FeedbackContract:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    @pytest.fixture
    def feedback(self, url: str) -> Iterator[FeedbackStore]:
        store = FleetStore(url, "one")
        yield FeedbackStore(store.engine)
        store.close()

    def test_the_first_of_two_requests_of_one_name_is_kept(self, feedback: FeedbackStore) -> None:
        others = [replace(ROW, request=f"r{n}") for n in range(1_000)]
        feedback.remember([ROW, *others])
        feedback.remember([replace(ROW, version="3"), replace(ROW, model="iris", version="9")])
        feedback.remember([])

        found = feedback.find("wine", ["q1", "q2", *(row.request for row in others)])

        assert found == {row.request: row for row in (ROW, *others)}
        assert feedback.find("iris", ["q1"]) == {"q1": replace(ROW, model="iris", version="9")}

    def test_a_request_counts_once_by_label_and_once_by_reward(
        self, feedback: FeedbackStore
    ) -> None:
        feedback.remember([ROW, replace(ROW, request="q2"), replace(ROW, request="q3")])
        heard = [
            Heard("wine", "q3", "2", MISTAKE, REWARD),
            Heard("wine", "q1", "2", label=MISTAKE),
            Heard("wine", "q1", "2", label=MISTAKE),
            Heard("wine", "q9", "2", label=MISTAKE),
            Heard("wine", "q2", "2", reward=REWARD),
        ]

        assert feedback.count(heard) == [
            (True, True), (True, False), (False, False), (False, False), (False, True),
        ]  # fmt: skip
        assert feedback.count([Heard("wine", "q1", "2", MISTAKE, REWARD)]) == [(False, True)]

        assert feedback.totals() == {("wine", "2"): FeedbackTotals(2, 2, 3, 1.5, 0.75)}
        assert feedback.find("wine", ["q1"])["q1"] == replace(ROW, labelled=True, rewarded=True)

    def test_of_many_threads_one_counts_a_request(self, feedback: FeedbackStore) -> None:
        names = [f"q{n}" for n in range(20)]
        feedback.remember([replace(ROW, request=name) for name in names])

        def count(turn: int) -> int:
            order = names if turn % 2 else names[::-1]
            return sum(
                yes for yes, _ in feedback.count([Heard("wine", n, "2", MISTAKE) for n in order])
            )

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(count, range(8))) == 20

        assert feedback.totals()["wine", "2"].labels == 20

    def test_totals_outlive_the_requests(self, feedback: FeedbackStore) -> None:
        feedback.remember([ROW])
        feedback.count([Heard("wine", "q1", "2", label=MISTAKE)])

        feedback.prune("wine", 2_000.0, 10)

        assert feedback.find("wine", ["q1"]) == {}
        assert feedback.totals() == {("wine", "2"): MISTAKE}

    @pytest.mark.parametrize(
        ("before_s", "most", "left"),
        [
            pytest.param(0.0, 5, "01234", id="fewer-than-may-be"),
            pytest.param(2.0, 5, "234", id="old"),
            pytest.param(0.0, 2, "34", id="too-many"),
            pytest.param(4.0, 2, "4", id="both"),
        ],
    )
    def test_old_requests_and_those_beyond_a_number_are_forgotten(
        self, feedback: FeedbackStore, before_s: float, most: int, left: str
    ) -> None:
        feedback.remember(
            replace(ROW, model=model, request=f"{n}", answered_at_s=float(n))
            for n in range(5)
            for model in ("wine", "iris")
        )

        feedback.prune("wine", before_s, most)

        assert "".join(sorted(feedback.find("wine", list("01234")))) == left
        assert len(feedback.find("iris", list("01234"))) == 5


class TestSqlite(FeedbackContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return migrated(tmp_path / "fleet.db")


@pytest.mark.ray
class TestPostgresql(FeedbackContract):
    @pytest.fixture
    def url(self, server: str) -> str:
        return ready(empty(server))
