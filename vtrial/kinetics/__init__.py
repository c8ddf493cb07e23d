"""Exact linear kinetics of any number of drugs, fused with the reductions that endpoints need.

`system` says which compartments exist and how they exchange, `ladder` steps them exactly, `peak` finds maxima, `scan`
is the loop over time and `stepper` the door; `superposition` is the independent closed form, and `nonlinear` the door
to right-hand sides of a model's own.
"""

from vtrial.kinetics.stepper import Exposure, Grid, Sedation, Trace, expose
from vtrial.kinetics.superposition import superposition
from vtrial.kinetics.system import System

__all__ = ["Exposure", "Grid", "Sedation", "System", "Trace", "expose", "superposition"]
