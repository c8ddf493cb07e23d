"""Arms that no other arm beats: on risk and benefit at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]


def efficient(risk: Array, benefit: Array) -> NDArray[np.bool_]:
    """Arms on the efficient frontier: no other arm has no more risk and no less benefit, and better one of them.

    Parameters
    ----------
    risk, benefit : arrays, shape (arm, ...)
        Less of one is better, more of the other.

    Returns
    -------
    ndarray of bool, shape (arm, ...)
        False where either is not known. Of arms that are equal in both, all or none are on it.

    Notes
    -----
    Pareto efficiency; in health economics the arms that are not (strongly) dominated.

    Examples
    --------
    >>> efficient(np.array([0.01, 0.02, 0.02, 0.05]), np.array([0.3, 0.6, 0.5, 0.6])).tolist()
    [True, True, False, False]
    """
    known = np.isfinite(risk) & np.isfinite(benefit)
    found = known.copy()
    for a in range(len(risk)):
        no_worse = known & (risk <= risk[a]) & (benefit >= benefit[a])
        better = (risk < risk[a]) | (benefit > benefit[a])
        found[a] &= ~(no_worse & better).any(0)
    return found
