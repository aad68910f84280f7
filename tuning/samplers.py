"""Optuna's samplers, built for one trial at a time."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna

from tuning.ledger import Prior
from tuning.searcher import SearcherKind, SearcherSpec
from tuning.space import Space, sample

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATEFUL: frozenset[SearcherKind] = frozenset({"cmaes", "nsga2"})
"""Keep notes about their generations with each trial; a resume has to let them write anew."""

DORMANT: frozenset[SearcherKind] = frozenset({"gp", "nsga2"})
"""See all branches' parameters at all times, since they would draw the rest at random."""

GENERATION_ATTRIBUTE = "NSGAIISampler:generation"
"""Where Optuna 5 notes to which generation a trial belongs."""


class Repeating(optuna.samplers.BaseSampler):
    """Lets a sampler write its notes, and then draws what was drawn before.

    Trials that are enqueued with fixed values would pass the sampler by, and a generation
    would not know its members (Optuna 5).
    """

    def __init__(self, inner: optuna.samplers.BaseSampler, draws: Mapping[str, Any]) -> None:
        self._inner = inner
        self._draws = draws

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Ask the sampler which parameters it draws together."""
        space: dict[str, Any] = self._inner.infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: Any, trial: Any, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        """Have the sampler draw, and put the earlier draws in its place."""
        self._inner.sample_relative(study, trial, search_space)
        return {name: self._draws[name] for name in search_space if name in self._draws}

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: Any
    ) -> Any:
        """Draw what was drawn before."""
        return self._draws[param_name]

    def before_trial(self, study: Any, trial: Any) -> None:
        """Pass it on."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Pass it on."""
        self._inner.after_trial(study, trial, state, values)


def make_sampler(
    searcher: SearcherSpec, space: Space, n_trials: int, seed: int, priors: "list[FrozenTrial]"
) -> optuna.samplers.BaseSampler:
    """Build a learning searcher's sampler.

    Args:
        searcher: Which, and its settings.
        space: What is tried.
        n_trials: Trials of the sweep, by which a population is sized.
        seed: Of this sampler.
        priors: What an earlier sweep found.
    """
    startup = searcher.n_startup_trials
    match searcher.kind:
        case "gp":
            import torch  # noqa: PLC0415, costs seconds: only this searcher pays

            # Its matrices are small: threads would only wait for each other, and for trials.
            torch.set_num_threads(1)
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=startup, warn_independent_sampling=False
            )
        case "cmaes":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.CmaEsSampler(
                    seed=seed,
                    popsize=searcher.population_size,
                    source_trials=priors or None,
                    warn_independent_sampling=False,
                )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(
                seed=seed, population_size=population(searcher, n_trials)
            )
        case _:
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=startup,
                # Trials that still run count as bad, or neighbours in time would be twins.
                constant_liar=True,
            )


def population(searcher: SearcherSpec, n_trials: int) -> int:
    """Return a generation's size: enough generations to evolve, enough members to differ."""
    return searcher.population_size or max(4, min(50, n_trials // 5))


def frozen(prior: Prior, searcher: SearcherSpec, space: Space) -> "FrozenTrial":
    """Spell a prior as the trial that Optuna would have made of it."""
    recorder = optuna.trial.FixedTrial(prior.draws)
    sample(space, recorder, dormant=searcher.kind in DORMANT)
    attributes = {f"constraints:{place}": value for place, value in enumerate(prior.violations)}
    if searcher.kind == "nsga2":
        attributes[GENERATION_ATTRIBUTE] = 0
    return optuna.trial.create_trial(
        values=prior.values,
        params=recorder.params,
        distributions=recorder.distributions,
        system_attrs=attributes,
    )
