"""What passes that train share: the hook for a person's own training code, live models from source files, and what is done to them while they learn.

`hook.py` and `clusters.py` know no framework; the others are imported inside a pass's `make` alone, where their libraries are.
"""

from aweigh.optimization.training.hook import Callbacks, StopTraining, without_passes

__all__ = ["Callbacks", "StopTraining", "without_passes"]
