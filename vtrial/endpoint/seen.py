"""What endpoints may look at of a patient, and how windows of time are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray
from pydantic import Field

from vtrial.spec import Duration

type Array = NDArray[np.float64]


class Exposed(Protocol):
    """The part of `vtrial.kinetics.Exposure` that endpoints read (see there)."""

    @property
    def peak(self) -> Array: ...
    @property
    def peak_time(self) -> Array: ...
    @property
    def cmax(self) -> Array: ...
    @property
    def auc(self) -> Array: ...
    @property
    def time_at(self) -> Array: ...
    @property
    def since(self) -> Array: ...
    @property
    def last(self) -> Array: ...


@dataclass(frozen=True)
class Seen:
    """What an endpoint may look at: exposures, and what turns them into sedation.

    Parameters
    ----------
    exposure, reference : Exposed
        Of n treated patients; and of the reference patient, one for each draw.
    windows : tuple of float
        Ends of the windows, h, in the order of the exposure.
    draw : array of int, shape (n,)
        Which draw each patient belongs to.
    r, omega_S : arrays, shape (draw, level) and (draw,)
    fold, t_half : arrays, shape (draw,)
        Of tolerance: drive needed after adaptation relative to naive, and half-time of adaptation, h.
    z : sequence of arrays, each shape (n,)
        Deviation of log sensitivity per channel: only the counting estimator looks at it.
    clock : array, shape (n,)
        Clock time of the first dose, h.
    share : tuple of arrays, each shape (n,), optional
        Where a patient stands for a part of the distribution of sensitivity: from and to which probability that
        sensitivity is greater (`vtrial.treatment.follow`). Outcomes are then that part's contribution to the patient's,
        and the exposure's times at level are already.
    """

    exposure: Exposed
    reference: Exposed
    windows: tuple[float, ...]
    draw: NDArray[np.integer]
    r: Array
    omega_S: Array
    fold: Array
    t_half: Array
    z: Sequence[Array]
    clock: Array
    share: tuple[Array, Array] | None = None

    def window(self, hours: float) -> int:
        """Position of a window."""
        return self.windows.index(hours)

    def between(self, start: float, end: float) -> Array:
        """Maximum of A U / Tol from the end of a window at which maxima start anew to that of another, by channel."""
        return self.exposure.since[:, self.window(start) + 1 : self.window(end) + 1].max(1)

    def within(self, probability: Any) -> Any:
        """Of the probability that a sensitivity is great enough for something, what lies in the share."""
        if self.share is None:
            return probability
        begin, end = self.share
        return np.clip(probability - begin, 0.0, end - begin)

    @property
    def weight(self) -> Any:
        """How much of the patient the share is: what does not depend on sensitivity counts so much."""
        return 1.0 if self.share is None else self.share[1] - self.share[0]

    def counts(self) -> Any:
        """Whether the patient's own sensitivity lies in the share."""
        if self.share is None:
            return True
        above = scipy.special.ndtr(-self.z[0])
        return (above >= self.share[0]) & (above < self.share[1])

    def of_draw(self, values: Array) -> Array:
        """Each patient's value of what is known for each draw, shape (draw,)."""
        return values[self.draw]


def window_name(hours: float) -> str:
    """Name a window: hours up to three days, days beyond.

    Examples
    --------
    >>> window_name(24), window_name(168)
    ('24h', '7d')
    """
    return f"{hours / 24:g}d" if hours > 72 and hours % 24 == 0 else f"{hours:g}h"


type Windows = Annotated[tuple[Duration, ...], Field(min_length=1)]
type Levels = Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1)]
