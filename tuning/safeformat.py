"""The safe file format of scikit-learn models, without the frameworks that it drags in."""

import importlib
import sys
from types import ModuleType


def import_skops() -> ModuleType:
    """Import skops, but not PyTorch with it.

    skops 0.16 lists every estimator that there is, for which scikit-learn walks through all
    of its packages, one of which imports PyTorch: 1.2 s and 180 MB that no estimator needs.
    Call it while no other thread may import PyTorch.
    """
    if "torch" in sys.modules:
        return importlib.import_module("skops.io")
    sys.modules["torch"] = None  # type: ignore[assignment]  # the walk passes over what is missing
    try:
        return importlib.import_module("skops.io")
    finally:
        del sys.modules["torch"]
