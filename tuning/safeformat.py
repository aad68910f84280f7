"""The safe file format of scikit-learn models, without the frameworks that it drags in."""

import importlib
import sys
from types import ModuleType
from typing import Any


class _NoTorch:
    """Answers an import of PyTorch as if it were not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch":
            raise ModuleNotFoundError("PyTorch is not wanted here", name=name)


def import_skops() -> ModuleType:
    """Import skops, but not PyTorch with it.

    skops 0.16 lists every estimator that there is, for which scikit-learn walks through all
    of its packages, one of which imports PyTorch: 1.2 s and 180 MB that no estimator needs.
    The walk passes over what cannot be imported. Call this while no other thread may import
    PyTorch.
    """
    hidden: Any = _NoTorch()
    sys.meta_path.insert(0, hidden)
    try:
        return importlib.import_module("skops.io")
    finally:
        sys.meta_path.remove(hidden)
