from tests.tuning.reporting.sweeps import make_facts
from tests.tuning.trials import trial
from tuning.reporting.charts import MOST_LINES
from tuning.reporting.figures import learning_curves


def test_of_many_trials_some_of_all_and_the_winner_are_drawn() -> None:
    n_trials = 2 * MOST_LINES + 100
    trials = [trial(number, *[number / n_trials / 2] * 4) for number in range(n_trials)]
    trials[1] = trial(1, 0.9, 0.9, 0.9, 0.9)

    drawn = learning_curves(make_facts(trials))

    assert drawn.count('class="curve won"') == 1
    assert drawn.count('class="curve complete"') == n_trials // 3
    assert f"trial {n_trials - 3}" in drawn
