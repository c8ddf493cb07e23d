"""The best start that is allowed, from few trials: what is allowed or not allowed settles others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def best_allowed(worse: NDArray[np.bool_], allowed: Callable[[int], bool]) -> tuple[int, int]:
    """Find the last of some candidates, in ascending order of value, that is allowed.

    A candidate that is allowed settles all of no greater value, one that is not settles all that dominate it. Tried
    next is the one that settles most in the worse of its two cases. The answer is that of trying all, whenever none
    that is allowed dominates one that is not.

    Parameters
    ----------
    worse : array of bool, shape (candidate, candidate)
        Entry (i, j): if i is not allowed, then neither is j.
    allowed : callable
        Tries a candidate. The first is taken to be allowed, and is not tried.

    Returns
    -------
    best, tried : int
        Its number, and how many were tried.

    Examples
    --------
    >>> chain = np.triu(np.ones((100, 100), bool))
    >>> best_allowed(chain, lambda i: i <= 63)
    (63, 7)
    """
    number = np.arange(len(worse))
    best, open_, tried = 0, number > 0, 0
    while open_.any():
        if_allowed = np.cumsum(open_)  # open ones of no greater value
        if_not = (worse & open_).sum(1)
        one = int(np.argmax(np.where(open_, np.minimum(if_allowed, if_not), -1)))
        tried += 1
        if allowed(one):
            best, open_ = one, open_ & (number > one)
        else:
            open_ = open_ & ~worse[one]
    return best, tried
