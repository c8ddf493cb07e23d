"""The fixed patients over which expected event probabilities are integrals: quasi-random people and etas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtrial.model import Model
from vtrial.model.draw import eta_names
from vtrial.population import PopulationSpec, Stratum, resolve
from vtrial.scheme import Sobol, normals

type Array = NDArray[np.float64]

NODES = 64
"""Patients of a cohort. `tests/test_calibration.py` shows what more would change."""
POPULATION = "us_adults"


@dataclass(frozen=True)
class Cohort:
    """Patients of a cohort, shape (node,).

    Parameters
    ----------
    people : mapping
        Covariates.
    z : mapping
        Standard normal deviations of the etas.
    dose : array
        Standard normal deviation of the logarithm of a dose, where doses differ.
    """

    people: Mapping[str, Array]
    z: Mapping[str, Array]
    dose: Array


def cohorts_of(
    model: Model, strata: Sequence[Stratum], *, nodes: int = NODES, seed: int = 20260701
) -> dict[str, Cohort]:
    """Spread patients evenly over the covariates and etas of each cohort.

    Parameters
    ----------
    model : Model
    strata : sequence of Stratum
        Who is in each cohort, drawn from the covariate model `POPULATION`.
    nodes : int
        Patients: a power of two.
    seed : int
        Seed of the scrambling.

    Returns
    -------
    dict of str to Cohort
    """
    population = resolve(PopulationSpec(model=POPULATION, strata=list(strata)))
    etas = eta_names(model)
    words = [*(("population", word) for word in population.words), *(("eta", name) for name in etas), ("eta", "dose")]
    scheme, one, all_nodes = Sobol(seed, nodes, words), range(1), range(nodes)
    found = {}
    for stratum in strata:
        people = population.draw(stratum.name, scheme, one, all_nodes)
        people["FED"] = np.zeros((1, nodes))
        z = {name: normals(scheme, "eta", stratum.name, name, one, all_nodes)[0] for name in [*etas, "dose"]}
        found[stratum.name] = Cohort({k: v[0] for k, v in people.items()}, {k: z[k] for k in etas}, z["dose"])
    return found
