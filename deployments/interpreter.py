"""What a process that answers requests asks of Python's interpreter."""

import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.0005
"""How long a thread that loads or predicts may keep the interpreter from one that answers,
seconds. With Python's own 5 ms, a gateway that imported scikit-learn for its copy of a model
answered a lone client in 25 ms instead of 0.6, for seconds."""


def take_short_turns() -> None:
    """Let threads have the interpreter for `SWITCH_S` at a time."""
    sys.setswitchinterval(SWITCH_S)


def ignore_warnings() -> None:
    """Have one filter in the place of all that the imported packages have left.

    scikit-learn applies every filter anew for each tree of a forest: with the 18 that a
    replica's packages leave, 32 rows took 100 trees 7.7 ms, with one 3.3. Nobody reads the
    warnings of a model that answers requests.
    """
    warnings.resetwarnings()
    warnings.simplefilter("ignore")


def spare_what_stays() -> None:
    """Leave out of all later collections what is there now: modules, models, Ray's own.

    Each full collection went through all of it, and held up every request meanwhile: up to
    230 ms in a gateway that held scikit-learn and MLflow, beside 65 ms without.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def loading() -> Iterator[None]:
    """Load modules or models that stay, beside requests that are answered.

    One collection at the end, of what is new alone, takes the place of those that so many new
    objects would start, and of all later ones that would look through them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        spare_what_stays()
