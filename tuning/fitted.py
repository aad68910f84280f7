"""A winner's model in the process that fitted it: that one scores it, and uploads it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tuning.data import Labels, Rows
from tuning.exploring import Segment
from tuning.flavors import Flavor
from tuning.mlflowfaults import MLFLOW_ERRORS
from tuning.modelstore import Logged, ModelStore
from tuning.probes import first_line
from tuning.space import Params
from tuning.trainers.trainer import Metrics, Workers
from tuning.work import Alone, FitWork, Team
from tuning.workload import Workload

Say = Callable[[str], object]
"""Tells people something in one line."""


class Fitted:
    """A model, in the process that fitted it."""

    def __init__(self, team: Team, *, is_here: bool) -> None:
        """Begin.

        Args:
            team: Who fitted it.
            is_here: Whether that is this process.
        """
        self._team = team
        self._is_here = is_here

    def score(self, rows: Rows, labels: Labels) -> Metrics:
        """Measure it."""
        scores: Metrics = self._team.call("score", rows, labels)
        return scores

    def outputs(self, rows: Rows) -> Any:
        """Answer as the served model will, an array."""
        return self._team.call("outputs", rows)

    def model(self) -> Any:
        """Fetch it."""
        return self._team.call("model")

    def log(
        self, store: ModelStore, flavor: Flavor, arguments: Mapping[str, Any], say: Say
    ) -> Logged:
        """Log it from where it is, or, where that cannot be, from here.

        Args:
            store: Where to.
            flavor: The model's.
            arguments: MLflow's own.
            say: Told why it took the detour.

        Raises:
            Exception: Whatever MLflow's stores raise here, or the flavor anywhere.
        """
        if not self._is_here and store.is_anywhere:
            try:
                logged: Logged = self._team.call("log", store, arguments)
            except Exception as error:
                cause = getattr(error, "cause", None) or error  # Ray's error wraps it
                if not isinstance(cause, MLFLOW_ERRORS):
                    raise
                say(f"the process that fitted the model cannot upload it: {first_line(cause)}")
            else:
                return logged
        if not self._is_here:
            say("fetching the model, to upload it from here")
        return store.log(flavor, self.model(), arguments)


Fit = Callable[[Params, tuple[Segment, ...]], AbstractContextManager[Fitted]]
"""Fits all training rows with these parameters, or these by epoch; the model lasts as long."""


def local_fit(workload: Workload) -> Fit:
    """Fit in this process."""

    @contextmanager
    def fit(params: Params, segments: tuple[Segment, ...]) -> Iterator[Fitted]:
        team = Alone(FitWork(workload, Workers()))
        team.call("fit", params, segments)
        yield Fitted(team, is_here=True)

    return fit
