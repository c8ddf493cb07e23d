"""Exact linear kinetics of any number of drugs, fused with the reductions that endpoints need.

`system` says which compartments exist and how they exchange, `stepper` is the door. Drugs by mouth go by modes:
`clock` sorts patients by the times of their doses, `spectrum` prepares rates and weights, `modal` is the loop. All
others go step by step: `ladder` steps them exactly, `peak` finds maxima, `scan` is the loop. `superposition` is the
independent closed form, and `nonlinear` the door to right-hand sides of a model's own.
"""

from vtrial.kinetics.exposure import Exposure, Grid, Sedation, Trace
from vtrial.kinetics.stepper import expose
from vtrial.kinetics.streams import Row
from vtrial.kinetics.superposition import superposition
from vtrial.kinetics.system import System

__all__ = ["Exposure", "Grid", "Row", "Sedation", "System", "Trace", "expose", "superposition"]
