"""Register versions of a model whose fault takes its time, in a process of its own.

Run as a script, so that the replicas get the class by value, as with `register_models`.
"""

import mmap
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import Schema, TensorSpec

MODEL = "fickle"

DIES_AFTER_S = 60.0

STUCK_AT, STUCK_TAKES_S = 666.0, 0.003

MIB = 1024 * 1024

MARGIN_MIB = 1024
"""What a replica may take beyond what it had when the model was loaded, MiB."""

LEAK_MIB = 8
"""What each batch leaves behind, MiB."""


class Mortal(PythonModel):
    """Doubles a number, and takes its process with it after a minute."""

    def load_context(self, context: Any) -> None:
        # Not os.abort, which would write a core file.
        threading.Timer(DIES_AFTER_S, os._exit, [1]).start()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return np.asarray(model_input, dtype=np.float64) * 2


class Leaky(PythonModel):
    """Doubles a number and keeps memory for it, up to the limit of its process.

    Where none is left it does what native code does then: it aborts.
    """

    def load_context(self, context: Any) -> None:
        self.kept: list[mmap.mmap] = []
        with open("/proc/self/statm") as file:  # noqa: PTH123, one line of /proc
            taken = int(file.read().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (taken + MARGIN_MIB * MIB, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        try:
            block = mmap.mmap(-1, LEAK_MIB * MIB)
            block.write(b"x" * len(block))  # or the pages are only promised
        except (MemoryError, OSError):
            os.abort()
        self.kept.append(block)
        return np.asarray(model_input, dtype=np.float64) * 2


class Stuck(PythonModel):
    """Doubles a number in 3 ms; one of them it is at for ever, while its process goes on.

    A quicker model would compute on the replica's event loop, and hang all of it.
    """

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        values = np.asarray(model_input, dtype=np.float64)
        if (values == STUCK_AT).any():
            threading.Event().wait()
        due_s = time.thread_time() + STUCK_TAKES_S
        while time.thread_time() < due_s:
            pass
        return values * 2


FAULTS: dict[str, Callable[[], PythonModel]] = {"dies": Mortal, "leaks": Leaky, "hangs": Stuck}


def main(fault: str, model: str = MODEL) -> None:
    """Register one version, and print its number."""
    mlflow.set_experiment("faulty")
    number = Schema([TensorSpec(np.dtype("float64"), (-1, 1))])
    info = mlflow.pyfunc.log_model(
        python_model=FAULTS[fault](),
        name=model,
        signature=ModelSignature(number, number),
        pip_requirements=[],
        registered_model_name=model,
    )
    print(f"version {info.registered_model_version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
