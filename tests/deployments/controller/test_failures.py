from dataclasses import replace

import pytest

from deployments.controller.decide import decide
from deployments.controller.failures import BACKOFF_S, MAX_BACKOFF_S, ApplicationState, fingerprint
from deployments.schema import ModelSpec
from deployments.traffic.table import RouteState
from tests.deployments.controller.observations import (
    ASLEEP,
    FAILED,
    NOW_S,
    PLAIN,
    RUNNING,
    STARTING,
    apps,
    deployed,
    failure,
    seen,
    states,
)


class TestFailure:
    def test_it_is_recorded_with_the_replica_s_own_words_and_the_application_deleted(self) -> None:
        decision = decide(seen(applications=apps(v1=FAILED)))

        (route,) = decision.table.models["m"].routes
        assert (route.state, route.reason) == (RouteState.UNAVAILABLE, FAILED.message)
        assert decision.failures == {"m--v1": failure()}
        assert (deployed(decision), decision.delete) == ([], ("m--v1",))

    def test_it_is_counted_once_however_often_serve_reports_it(self) -> None:
        first = decide(seen(applications=apps(v1=FAILED)))

        again = decide(
            seen(applications=apps(v1=FAILED), failures=first.failures, now_s=NOW_S + 0.5)
        )

        assert again.failures == first.failures
        assert again.delete == ("m--v1",)

    @pytest.mark.parametrize(
        ("attempts", "wait_s"),
        [
            pytest.param(1, BACKOFF_S, id="first"),
            pytest.param(2, 2 * BACKOFF_S, id="doubles"),
            pytest.param(3, 4 * BACKOFF_S, id="doubles-again"),
            pytest.param(6, MAX_BACKOFF_S, id="reaches-the-longest"),
            pytest.param(100_000, MAX_BACKOFF_S, id="after-years"),
        ],
    )
    def test_it_is_tried_again_after_a_wait_that_doubles(
        self, attempts: int, wait_s: float
    ) -> None:
        failures = {"m--v1": failure(attempts)}

        early = decide(seen(failures=failures, now_s=NOW_S + wait_s - 0.1))
        due = decide(seen(failures=failures, now_s=NOW_S + wait_s))

        assert (deployed(early), deployed(due)) == ([], ["m--v1"])
        assert states(early) == {"1": "UNAVAILABLE"}

    def test_the_next_attempt_counts_on(self) -> None:
        failures = {"m--v1": failure(2)}
        later_s = NOW_S + 2 * BACKOFF_S + 1

        decision = decide(seen(applications=apps(v1=FAILED), failures=failures, now_s=later_s))

        assert decision.failures == {"m--v1": failure(3, at_s=later_s)}

    @pytest.mark.parametrize(
        ("state", "kept"),
        [
            pytest.param(replace(RUNNING, fingerprint=fingerprint(PLAIN)), False, id="running"),
            pytest.param(RUNNING, False, id="nobody-remembers-with-which-settings"),
            pytest.param(replace(RUNNING, fingerprint="old"), True, id="with-other-settings"),
            pytest.param(ASLEEP, True, id="scaled-to-zero"),
            pytest.param(STARTING, True, id="starting"),
        ],
    )
    def test_it_is_forgotten_once_the_version_has_loaded(
        self, state: ApplicationState, kept: bool
    ) -> None:
        failures = {"m--v1": failure(3)}

        decision = decide(seen(applications=apps(v1=state), failures=failures))

        assert decision.failures == (failures if kept else {})

    def test_new_settings_are_tried_at_once(self) -> None:
        mended = ModelSpec(runtime="pyfunc")

        decision = decide(seen(mended, failures={"m--v1": failure(5)}))

        assert deployed(decision) == ["m--v1"]

    def test_settings_that_changed_while_it_failed_are_not_blamed(self) -> None:
        mended = ModelSpec(runtime="pyfunc")
        failed = replace(FAILED, fingerprint=fingerprint(PLAIN))

        decision = decide(seen(mended, applications=apps(v1=failed)))

        assert decision.failures == {"m--v1": failure()}
        assert (deployed(decision), decision.delete) == (["m--v1"], ())

    def test_a_failed_leftover_of_another_model_is_deleted_too(self) -> None:
        decision = decide(seen(None, applications={"gone--v1": FAILED}))

        assert (decision.delete, decision.failures) == (("gone--v1",), {})
