"""Exact steps of any length: the ladder exp(A h), exp(A h/2), exp(A h/4), ... of eight patients.

The lowest rung is a Taylor polynomial, of a matrix so small (rate times length at most 1/16) that its error is below
rounding (4e-17 at degree 8); each further rung is the square of the one below (scaling and squaring; Moler and Van
Loan 2003, SIAM Rev 45:3-49). All entries of a rung are non-negative: squaring cancels nothing, so every entry keeps
its relative accuracy, and equal rates, near-equal rates and stiff ones are nothing special. No eigenvalue is needed.

A time below the step is a sum of halves, quarters, ...: `carry` goes there rung by rung.
"""

from __future__ import annotations

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.desk import DEEPEST, HALVINGS, SMALL
from vtrial.kinetics.system import COLUMNS
from vtrial.kinetics.unrolled import add, blend, matrix, matrix_product, times
from vtrial.lanes import LANES, larger, load, root, select, smaller, splat, store


@compiled
def build(shape, desk, at, h, table):
    """Fill the ladder from the rates; return the number of halvings of the deepest of the eight patients.

    Each patient has as many rungs as its own fastest rate needs.
    """
    deepest = HALVINGS
    for i in range(LANES):
        q = 0.0
        for state in range(at.n_state):
            q = max(q, -desk[LANES * (at.rates + table.diagonal[state]) + i])
        depth, length = HALVINGS, q * h / 2**HALVINGS
        while length > SMALL and depth < DEEPEST:
            depth, length = depth + 1, 0.5 * length
        desk[LANES * at.depth + i] = depth
        desk[LANES * at.rung + i] = h * 0.5**depth
        deepest = max(deepest, depth)
    _lowest_rung(shape, desk, at, deepest, table)
    depth = load(desk, at.depth)
    for level in range(deepest - 1, -1, -1):
        above, below = at.ladder + level * at.n_entry, at.ladder + (level + 1) * at.n_entry
        matrix_product(shape, desk, below, below, above)
        starts_here = depth <= float(level)
        for e in range(at.n_entry):
            store(desk, above + e, select(starts_here, load(desk, below + e), load(desk, above + e)))
    return deepest


@inlined
def _lowest_rung(shape, desk, at, deepest, table):
    """Taylor polynomial of degree 8, by Paterson and Stockmeyer: four products of matrices."""
    n, out, delta = at.n_entry, at.ladder + deepest * at.n_entry, load(desk, at.rung)
    one, two, three, four, sums = at.work, at.work + n, at.work + 2 * n, at.work + 3 * n, at.work + 4 * n
    for e in range(n):
        store(desk, one + e, delta * load(desk, at.rates + e))
    matrix_product(shape, desk, one, one, two)
    matrix_product(shape, desk, two, one, three)
    matrix_product(shape, desk, two, two, four)
    for e in range(n):
        b, b2, b3 = load(desk, one + e), load(desk, two + e), load(desk, three + e)
        b4 = load(desk, four + e)
        store(desk, sums + e, b * (1 / 120) + b2 * (1 / 720) + b3 * (1 / 5040) + b4 * (1 / 40320))
    for state in range(at.n_state):
        e = table.diagonal[state]
        store(desk, sums + e, load(desk, sums + e) + 1 / 24)
    matrix_product(shape, desk, four, sums, out)
    for e in range(n):
        b, b2, b3 = load(desk, one + e), load(desk, two + e), load(desk, three + e)
        store(desk, out + e, load(desk, out + e) + (b3 * (1 / 6) + b2 * 0.5 + b))
    for state in range(at.n_state):
        e = table.diagonal[state]
        store(desk, out + e, load(desk, out + e) + 1.0)


@inlined
def step(shape, desk, at, level, x):
    """States exp(A h / 2^level) x."""
    return times(shape, matrix(shape, desk, at.ladder + level * at.n_entry), x)


@inlined
def carry(shape, desk, at, h, deepest, x, time):
    """States exp(A t) x, for times (a vector) from 0 to h."""
    left, depth, half = time, load(desk, at.depth), h
    for level in range(deepest + 1):
        where = (left >= half) & (depth >= float(level))
        x = blend(shape, where, step(shape, desk, at, level, x), x)
        left = left - select(where, half, 0.0)
        half = 0.5 * half
    A = matrix(shape, desk, at.rates)
    y = x  # what is left is shorter than the lowest rung: Horner's scheme for its Taylor polynomial
    for n in range(8, 0, -1):
        y = add(shape, x, left * (1.0 / n), times(shape, A, y))
    return y


@compiled
def fade(desk, at, deepest):
    """Fill the ladder of 2^(-h / 2^level / t_half) below its first rung."""
    for level in range(1, deepest + 1):
        store(desk, at.decay + level, root(load(desk, at.decay + level - 1)))


@compiled
def bounds(desk, at, h, table):
    """Fill the weights w that bound what can be seen within a step: central <= sum w x, effect <= e + w (central - e).

    A molecule counts for the central compartment at most with the probability that it has been there by the end of
    the step: what starts there counts in full, what starts in the absorption chain as far as it has left the chain,
    what starts in a peripheral compartment by rate times step, which is more than its chance to have left.
    The effect site moves towards the central compartment by 1 - exp(-ke0 h) of the way.

    And fill `near`: A times the factor by which a smooth maximum can at most exceed the higher end of its step. At a
    maximum of the effect site e = c, so e'' = ke0 c' is at least -ke0 (rate out of the central compartment) c; half a
    step away that is h^2 / 8 times that; doubled, for two drugs that do not peak together and for their product.
    """
    bend, fading = splat(0.0), load(desk, at.decay)
    for d in range(at.n_drug):
        state, entry = table.layout[COLUMNS * d], table.layout[COLUMNS * d + 1]
        chain, peripheral = table.layout[COLUMNS * d + 2], table.layout[COLUMNS * d + 3]
        source, effect = table.layout[COLUMNS * d + 4], table.layout[COLUMNS * d + 5]
        central, width = chain + peripheral, chain + peripheral + 1
        body = chain * (chain + 1) // 2
        for j in range(chain):
            w = splat(h if source and j == 0 else 1.0)
            for i in range(max(j, source), chain):
                w = w - load(desk, at.ladder + entry + i * (i + 1) // 2 + j)
            store(desk, at.bound + state + j, w)
        for j in range(chain, central):
            leaving = load(desk, at.rates + entry + body + (j - chain) * width + j)
            store(desk, at.bound + state + j, smaller(leaving * -h, 1.0))
        store(desk, at.bound + state + central, splat(1.0))
        if effect:
            last = entry + body + (peripheral + 1) * width + central + 1
            store(desk, at.bound + state + central + 1, 1.0 - load(desk, at.ladder + last))
            ke0, out = load(desk, at.rates + last), load(desk, at.rates + entry + body + (peripheral + 1) * width - 1)
            bend = larger(bend, ke0 * (ke0 + out))
        else:
            bend = splat(1e9)  # a concentration may turn as fast as it is absorbed: look at every step
    fold = load(desk, at.fold) - 1.0
    change = larger(fold, 0.0 - fold) * (1.0 - fading)  # of tolerance, at most, within a step
    store(desk, at.near, load(desk, at.A) * (1.0 + 0.25 * h * h * bend) * (1.0 + change))
