"""What MLflow raises, and what it means."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tuning.errors import ConfigError
from tuning.home import Home
from tuning.probes import without_password

MLFLOW_ERRORS = (MlflowException, SQLAlchemyError, OSError, ImportError)
"""What its clients and stores raise when something is wrong on the other side."""


@contextmanager
def reachable(home: Home) -> Iterator[None]:
    """Turn whatever MLflow's stores raise in the block into one line.

    Raises:
        ConfigError: MLflow cannot be reached or used.
    """
    try:
        yield
    except MLFLOW_ERRORS as error:
        reason = without_password(str(error).partition("\n")[0][:200])
        shown = without_password(home.tracking_uri)
        raise ConfigError(f"MLFLOW_TRACKING_URI: {shown!r}: cannot be used: {reason}") from None


def is_final(error: Exception) -> bool:
    """Whether MLflow will never take what it was asked to write, as opposed to not now."""
    if not isinstance(error, MlflowException):
        return False
    status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    return 400 <= status < 500 and status not in {408, 429}
