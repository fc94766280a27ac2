"""Arrays by the names that signatures call them by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of any dtype: whoever takes it says which ones it knows what to do with
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]  # what networks and heads compute in
Doubles = NDArray[np.float64]  # what figures and solvers compute in
Ints = NDArray[np.int64]  # labels, positions, counts
