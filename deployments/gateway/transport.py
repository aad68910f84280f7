"""How a batch reaches a replica, and what the failures on the way mean.

Only two things can go wrong that a caller of `Transport` must tell apart: the model raised
(`PredictionError`), or the replica went away under the batch (`ReplicaGoneError`), in which
case nobody knows whether it was answered and it may be tried once more.
"""

from collections.abc import Callable
from typing import Any, Protocol

from ray import serve
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from deployments.errors import FleetError, ModelNotReadyError, PredictionError
from deployments.predictor.pool import Target
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import DEPLOYMENT
from deployments.protocols.tensors import Batch
from deployments.schema import parse_application_name
from deployments.traffic.table import Route

GONE = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    ReplicaUnavailableError,
)
"""What Ray and Serve raise where the replica, its node, or the batch on its way there is lost."""


class ReplicaGoneError(Exception):
    """The replica died or was unreachable while it had the batch."""

    def __init__(self, reason: str, actor: str | None = None) -> None:
        """Say what happened.

        Args:
            reason: In words.
            actor: Ray's id of the replica; None where nobody said which it was.
        """
        super().__init__(reason)
        self.actor = actor


class Transport(Protocol):
    """A way to the replicas of one version. Cancelling the call gives the batch up."""

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """Send one batch to a replica and wait for its answer.

        Args:
            batch: The joined rows of one or more requests.
            depth: Requests that wait or are in flight for this version at this gateway.
            timeout_s: After which the caller cancels this, seconds; the replica need not
                begin then.

        Raises:
            PredictionError: The model raised.
            ModelNotReadyError: The application is being removed or could not start.
            ReplicaGoneError: The replica died; the batch may be tried again.
        """
        ...


Landed = Callable[[Prediction | BaseException], None]
"""Called once with what became of a batch: what `Transport.predict` gives or raises."""


class VersionTransport(Transport, Protocol):
    """A transport that follows what the routing table says of its version."""

    def begin(
        self, batch: Batch, depth: int, timeout_s: float, landed: Landed
    ) -> Callable[[], object] | None:
        """Send a batch without a task to wait for it, where that can be done.

        Args:
            batch: See `Transport.predict`, as the next two.
            depth: As above.
            timeout_s: As above.
            landed: Called in a later turn of the loop; also, with `CancelledError`, when the
                batch is given up.

        Returns:
            What gives the batch up; None where only `predict` can send it now.
        """
        ...

    @property
    def is_cheap(self) -> bool:
        """Whether the next batch would be spared Serve's handle."""
        ...

    @property
    def own_copies(self) -> int:
        """Batches that this process can work on by itself, beside the replicas."""
        ...

    def update(self, route: Route | None) -> None:
        """Follow the table; None says that the version has left it for good."""
        ...


class HandleTransport:
    """Ray Serve's own deployment handle: Serve picks the replica and wakes it from zero."""

    def __init__(self, application: str, gateway: str) -> None:
        self._application = application
        self._gateway = gateway
        handle: DeploymentHandle[Any] = serve.get_deployment_handle(
            DEPLOYMENT, application, _check_exists=False
        )
        self._predict = handle.options(method_name="predict")

    async def predict(
        self, batch: Batch, depth: int, timeout_s: float, target: Target | None = None
    ) -> Prediction:
        """See `Transport.predict`. Serve tells the replica when this is cancelled.

        Args:
            batch: As there, and the next two.
            depth: As above.
            timeout_s: As above.
            target: Tells a pool's replica which version; None for a replica that holds one.
        """
        try:
            told = (target,) if target is not None else ()
            answer: Prediction = await self._predict.remote(batch, self._gateway, depth, *told)
        except RayTaskError as error:
            raise self._cause(error, target) from None
        except GONE as error:
            actor = getattr(error, "actor_id", None)
            said = str(error).partition("\n")[0] or type(error).__name__
            raise ReplicaGoneError(said, actor) from None
        except RequestCancelledError:
            raise ReplicaGoneError("Serve cancelled the call") from None
        except DeploymentUnavailableError:
            model, _ = self._names(target)
            raise ModelNotReadyError(model, "its application is not running") from None
        return answer

    def _cause(self, error: RayTaskError, target: Target | None) -> FleetError:
        # An error from another process is both our class and a RayTaskError, whose text
        # is the remote traceback with host and pid; nobody outside may see that.
        cause = error.cause
        if isinstance(cause, FleetError):
            return cause
        model, version = self._names(target)
        return PredictionError(model, version, f"{type(cause).__name__}: {cause}")

    def _names(self, target: Target | None) -> tuple[str, str]:
        if target is not None:
            return target[:2]
        return parse_application_name(self._application) or (self._application, "")
