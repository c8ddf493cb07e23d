"""Exponentials of compartment matrices without eigenvalues, hence without trouble at equal or near-equal rates.

Uniformisation (Jensen 1953, Skand Aktuarietidskr 36:87-91): with q the largest rate, M = I + A / q has no
negative entry, and exp(A t) = exp(-q t) sum (q t)^k M^k / k! is a sum of positive terms: nothing cancels, so
every entry is accurate to rounding, ties and stiffness included.
"""

from __future__ import annotations

import math

import numpy as np

from vtrial.compiled import compiled, inlined

HALF_TERMS = 15  # (1/2)^15 / 15! is below 1e-16
LONGEST = 200.0  # q * t summed in one go; beyond it the interval is cut, lest exp(-q t) underflow
MOST_TERMS = 420  # enough for q * t = LONGEST at full precision


@compiled
def fastest(rates, entries, owner, q):
    """Fill `q` (drug, lane) with the largest rate of each drug."""
    q[:] = 1e-300
    for e in range(len(entries)):
        if entries[e, 0] == entries[e, 1]:
            for i in range(q.shape[1]):
                q[owner[e], i] = max(q[owner[e], i], -rates[e, i])


@compiled
def propagators(rates, h, entries, products, owner, q, out, power, work):
    """Fill `out` (entry, lane) with exp(A h) of each lane, by scaling, a short sum, and squaring.

    `rates` (entry, lane) holds A in 1/h, `q` (drug, lane) the largest rate, `owner` the drug of each entry;
    `power` and `work` are scratch of the shape of `out`. Each lane is squared as often as it needs itself: its
    result does not depend on its neighbours.
    """
    n_entry, lanes = out.shape
    squarings = np.empty(lanes, np.int64)
    for i in range(lanes):
        squarings[i] = max(0, math.ceil(math.log2(q[:, i].max() * h / 0.5)))
    for e in range(n_entry):  # power: (q h / 2^s) M, out: the identity
        same = 1.0 if entries[e, 0] == entries[e, 1] else 0.0
        for i in range(lanes):
            power[e, i] = h * 2.0 ** -squarings[i] * (rates[e, i] + same * q[owner[e], i])
            out[e, i] = same
    for k in range(HALF_TERMS, 0, -1):  # Horner: out = I + power / k * out
        _multiply(power, out, products, work)
        for e in range(n_entry):
            same = 1.0 if entries[e, 0] == entries[e, 1] else 0.0
            for i in range(lanes):
                out[e, i] = work[e, i] * (1.0 / k) + same
    for e in range(n_entry):
        for i in range(lanes):
            out[e, i] *= math.exp(-q[owner[e], i] * h * 2.0 ** -squarings[i])
    for s in range(squarings.max()):
        _multiply(out, out, products, work)
        for e in range(n_entry):
            for i in range(lanes):
                out[e, i] = work[e, i] if s < squarings[i] else out[e, i]


@compiled
def _multiply(left, right, products, out):
    out[:] = 0.0
    for p in range(products.shape[0]):
        o, a, b = products[p, 0], products[p, 1], products[p, 2]
        for i in range(out.shape[1]):
            out[o, i] += left[a, i] * right[b, i]


@inlined
def terms(q, t, sds):
    """Terms of the uniformised sum, whose weights are Poisson with mean q t: up to `sds` SDs beyond the mean.

    Eight reach full precision; six leave out less than 1e-9.
    """
    mean = q * t
    return min(MOST_TERMS, int(mean + sds * math.sqrt(mean) + 1.5 * sds))


@inlined
def advance(M, i, entries, span, first, last, q, t, x, a, b):
    """Replace the states x[first:last] of one drug in lane `i` by exp(A t) x; `a` and `b` are scratch.

    `M` (entry, lane) holds I + A / q, `span` the first and one past the last entry of the drug.
    """
    pieces = max(1, math.ceil(q * t / LONGEST))
    step = t / pieces
    for _ in range(pieces):
        weight = math.exp(-q * step)
        for s in range(first, last):
            a[s] = x[s]
            x[s] *= weight
        for k in range(1, terms(q, step, 8.0)):
            weight *= q * step / k
            apply(M, i, entries, span, first, last, a, b)
            for s in range(first, last):
                a[s] = b[s]
                x[s] += weight * b[s]


@inlined
def apply(M, i, entries, span, first, last, x, out):
    """Set out[first:last] = M x for one drug of lane `i`."""
    for s in range(first, last):
        out[s] = 0.0
    for e in range(span[0], span[1]):
        out[entries[e, 0]] += M[e, i] * x[entries[e, 1]]
