"""Exact linear kinetics of any number of drugs, fused with the reductions that endpoints need.

`system` says which compartments exist and how they exchange, `exponential` steps them exactly, `stepper` runs
patients through their doses and keeps maxima, areas and times, `superposition` is the independent closed form.
"""

from vtrial.kinetics.stepper import Exposure, Grid, Sedation, Trace, expose
from vtrial.kinetics.superposition import superposition
from vtrial.kinetics.system import System

__all__ = ["Exposure", "Grid", "Sedation", "System", "Trace", "expose", "superposition"]
