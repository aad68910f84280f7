"""Silence from libraries that talk without being asked, so that our own lines are read."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tuning.errors import TuningError

SILENCE = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # or leaving waits for a network that may not be there
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Variables read when a library is imported; a value that the user set stays."""

LOGGERS = ("mlflow", "alembic", "ray", "optuna", "tensorflow", "absl", "torch", "git")

ECHOES = (
    "ray.tune.tune",  # its own names of failed trials; we have told about each by its number
    "ray.tune.execution.experiment_state",  # snapshots that nobody reads, on a full disk
    "mlflow.store.db.utils",  # all SQL of a note that the outbox will try again
)
"""Loggers that say at length, and as an error, what we say in a line."""

MLFLOW_RETRIES = "2"
"""MLflow's client would retry a dead server for minutes; our own retry does not block."""


def quieten() -> None:
    """Call before the libraries are imported."""
    for name, value in SILENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_RETRIES)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ECHOES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore")


@contextmanager
def muted_stderr() -> Iterator[None]:
    """Swallow what native code writes to stderr, unless the block fails unexpectedly.

    TensorFlow announces missing GPU drivers before its log level has any effect.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as swallowed:
        kept = os.dup(2)
        os.dup2(swallowed.fileno(), 2)
        try:
            yield
        except TuningError:
            raise  # says all that there is to say
        except Exception:
            swallowed.seek(0)
            os.write(kept, swallowed.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
