import math
import pickle
import re
from dataclasses import dataclass

import pytest

from deployments.rollout.analysis import Finding, Judgement, Verdict, combine, judge
from deployments.rollout.evidence import begin, observe
from deployments.rollout.signals import Counts, Kind, Signal, Sums
from tests.deployments.rollout.rollouts import ERRORS, Batch, observed

DIFFERING = Signal("differing share", Kind.DIFFERING, allowed=0.05)
REWARD = Signal("reward", Kind.REWARD, allowed=0.1, low=0.0, high=5.0)

FAILED, SUCCESSFUL, INCONCLUSIVE = Verdict.FAILED, Verdict.SUCCESSFUL, Verdict.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Said:
    """An outcome as short as can be."""

    verdict: Verdict
    reason: str = "because"
    dry_run: bool = False


def found(evidence_of: list[Batch], signal: Signal = ERRORS) -> Finding:
    (finding,) = judge(observed(evidence_of, signal), [signal]).findings
    return finding


@pytest.mark.parametrize(
    ("batches", "verdict"),
    [
        pytest.param([], INCONCLUSIVE, id="nothing"),
        pytest.param([(1, 1, 19, 0)], INCONCLUSIVE, id="one-request-that-failed"),
        pytest.param([(100, 3, 1900, 19)], INCONCLUSIVE, id="a-hundred-requests"),
        pytest.param([(512, 21, 9730, 97)], FAILED, id="four-times-the-rate"),
        pytest.param([(2000, 20, 38_000, 380)], INCONCLUSIVE, id="alike-but-few"),
        pytest.param([(20_000, 200, 38_000, 380)], SUCCESSFUL, id="alike-and-many"),
        pytest.param([(3000, 0, 57_000, 0)], SUCCESSFUL, id="no-failures"),
        pytest.param([(20_000, 400, 380_000, 3800)], FAILED, id="twice-the-rate-and-many"),
        pytest.param([(20_000, 300, 380_000, 3800)], INCONCLUSIVE, id="at-what-is-allowed"),
    ],
)
def test_verdict(batches: list[Batch], verdict: Verdict) -> None:
    judgement = judge(observed(batches), [ERRORS])

    assert judgement.verdict is verdict
    assert judgement.findings[0].verdict is verdict


@pytest.mark.parametrize(
    ("batch", "pattern"),
    [
        pytest.param(
            (512, 21, 9730, 97),
            r"error rate 4\.1% of 512 against 1\.0% of 9730: "
            r"rise at least \+\d\.\d+%, allowed \+0\.50%",
            id="failed",
        ),
        pytest.param(
            (20_000, 200, 38_000, 380),
            r"error rate 1\.0% of 20000 against 1\.0% of 38000: "
            r"rise at most \+0\.\d\d%, allowed \+0\.50%",
            id="successful",
        ),
        pytest.param(
            (100, 3, 1900, 0),
            r"error rate 3\.0% of 100 against 0\.0% of 1900: "
            r"rise between [-+]\d\.\d+% and \+\d+\.\d%, allowed \+0\.50%",
            id="inconclusive",
        ),
        pytest.param(
            (0, 0, 0, 0),
            r"error rate: nothing was counted yet",
            id="nothing",
        ),
    ],
)
def test_a_reason_has_both_numbers_and_what_follows(batch: Batch, pattern: str) -> None:
    assert re.fullmatch(pattern, found([batch]).reason), found([batch]).reason


def test_a_finding_has_the_numbers_behind_its_reason() -> None:
    finding = found([(512, 21, 9730, 97)])

    assert (finding.canary, finding.n_canary) == (21 / 512, 512)
    assert (finding.stable, finding.n_stable) == (97 / 9730, 9730)
    assert finding.allowed == 0.005
    assert finding.fails_at == pytest.approx(100)
    assert finding.e_value >= finding.fails_at
    assert finding.allowed < finding.low < 21 / 512 - 97 / 9730 < finding.high


def test_one_step_is_judged_by_the_present_numbers_and_the_rollout_by_all() -> None:
    clean = (20_000, 200, 38_000, 380)

    first, second = observed([clean]), observed([clean, (1, (100, 1, 100, 1))])

    assert judge(first, [ERRORS]).verdict is SUCCESSFUL
    judgement = judge(second, [ERRORS])
    assert judgement.verdict is INCONCLUSIVE
    assert judgement.findings[0].n_canary == 100


def test_a_step_without_numbers_does_not_live_on_the_last_one_s() -> None:
    evidence = observed([(20_000, 200, 38_000, 380)])
    counts = Counts(requests=20_000, errors=200), Counts(requests=38_000, errors=380)

    evidence = observe(evidence, [ERRORS], canary=counts[0], stable=counts[1], step=1)

    assert judge(evidence, [ERRORS]).verdict is INCONCLUSIVE


def test_a_failing_version_shows_the_numbers_of_the_steps_that_convict_it() -> None:
    evidence = observed([(20_000, 200, 38_000, 380), (1, (2000, 100, 2000, 20))])

    (finding,) = judge(evidence, [ERRORS]).findings

    assert finding.verdict is FAILED
    assert finding.reason.startswith("error rate 5.0% of 2000 against 1.0% of 2000: rise at least")


def test_signals_share_alpha_but_not_with_those_that_only_report() -> None:
    others = [Signal(name, Kind.ERRORS, 0.005) for name in ("a", "b", "c")]
    silent = Signal("silent", Kind.ERRORS, 0.005, dry_run=True)
    evidence = observed([(512, 21, 9730, 97)], ERRORS, *others, silent)

    alone = judge(evidence, [ERRORS, silent])
    shared = judge(evidence, [ERRORS, *others])

    assert [finding.fails_at for finding in alone.findings] == pytest.approx([100, 100])
    assert {finding.fails_at for finding in shared.findings} == {400}
    assert alone.findings[0].low > shared.findings[0].low


def test_a_dry_run_reports_and_counts_for_nothing() -> None:
    silent = Signal("silent", Kind.ERRORS, 0.0, dry_run=True)
    evidence = observed([(20_000, 300, 380_000, 3800)], ERRORS, silent)
    relaxed = Signal(ERRORS.name, Kind.ERRORS, 0.02)

    judgement = judge(evidence, [relaxed, silent])

    assert judgement.verdict is SUCCESSFUL
    assert [finding.verdict for finding in judgement.findings] == [SUCCESSFUL, FAILED]
    assert "silent" not in judgement.reason


def test_more_alpha_fails_sooner_and_more_risk_succeeds_sooner() -> None:
    bad, good = observed([(200, 8, 3800, 38)]), observed([(5000, 45, 45_000, 450)])

    assert judge(bad, [ERRORS], alpha=0.01).verdict is INCONCLUSIVE
    assert judge(bad, [ERRORS], alpha=0.5).verdict is FAILED
    assert judge(good, [ERRORS], risk=0.001).verdict is INCONCLUSIVE
    assert judge(good, [ERRORS], risk=0.2).verdict is SUCCESSFUL


def test_mirrored_answers_are_held_against_a_bound() -> None:
    evidence = begin([DIFFERING], canary=Counts(), stable=Counts())
    canary = Counts(mirrored=200, differing=40)

    evidence = observe(evidence, [DIFFERING], canary=canary, stable=Counts(), step=0)
    (finding,) = judge(evidence, [DIFFERING]).findings

    assert finding.verdict is FAILED
    assert (finding.canary, finding.stable, finding.n_stable) == (0.2, None, 0)
    assert (
        finding.reason == f"differing share 20.0% of 200: at least {finding.low:.1%}, allowed 5.0%"
    )


def test_rewards_are_told_in_their_own_unit() -> None:
    # Half fives and half threes against all fives.
    evidence = begin([REWARD], canary=Counts(), stable=Counts())
    canary, stable = Sums(400, 1600.0, 6800.0), Sums(2000, 10_000.0, 50_000.0)

    evidence = observe(
        evidence, [REWARD], canary=Counts(rewards=canary), stable=Counts(rewards=stable), step=0
    )
    (finding,) = judge(evidence, [REWARD]).findings

    assert (finding.canary, finding.stable) == (4.0, 5.0)
    assert finding.verdict is FAILED
    assert 0.5 < finding.low < 1.0 < finding.high < 1.5
    assert finding.reason.startswith("reward 4 of 400 against 5 of 2000: drop at least 0.")
    assert finding.reason.endswith("allowed 0.1")


def test_a_certain_failure_has_an_e_value_that_is_a_number() -> None:
    finding = found([(100_000, 90_000, 100_000, 10)])

    assert finding.verdict is FAILED
    assert math.isfinite(finding.e_value)


@pytest.mark.parametrize("kind", Kind)
def test_before_anything_was_counted_every_kind_is_undecided(kind: Kind) -> None:
    signal = Signal(kind.value, kind, allowed=0.1)

    judgement = judge(begin([signal], canary=Counts(), stable=Counts()), [signal])

    assert judgement.verdict is INCONCLUSIVE
    assert judgement.reason == f"{kind.value}: nothing was counted yet"


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        pytest.param([], SUCCESSFUL, id="nothing-is-judged"),
        pytest.param([Said(SUCCESSFUL), Said(SUCCESSFUL)], SUCCESSFUL, id="all-successful"),
        pytest.param([Said(SUCCESSFUL), Said(INCONCLUSIVE)], INCONCLUSIVE, id="one-undecided"),
        pytest.param([Said(INCONCLUSIVE), Said(FAILED)], FAILED, id="failure-outranks"),
        pytest.param([Said(SUCCESSFUL), Said(FAILED, dry_run=True)], SUCCESSFUL, id="dry-failure"),
        pytest.param([Said(FAILED, dry_run=True)], SUCCESSFUL, id="only-dry-runs"),
    ],
)
def test_combine(outcomes: list[Said], verdict: Verdict) -> None:
    assert combine(outcomes)[0] is verdict


def test_the_reason_of_several_is_that_of_those_who_decide() -> None:
    outcomes = [
        Said(SUCCESSFUL, "a"),
        Said(FAILED, "b"),
        Said(INCONCLUSIVE, "c"),
        Said(FAILED, "d"),
    ]

    assert combine(outcomes) == (FAILED, "b; d")


def test_a_judgement_survives_the_way_to_other_processes() -> None:
    judgement: Judgement = judge(observed([(512, 21, 9730, 97)]), [ERRORS])

    assert pickle.loads(pickle.dumps(judgement)) == judgement  # noqa: S301, our own bytes
