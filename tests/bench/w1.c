/* W1 by hand: what C reaches when one shared schedule lies on the grid. A limit to measure against, not a product:
   an exact tie of rates (ka = k, ka = ke0, k = ke0) gives NaN, and near ties lose digits.

   Per drug depot -> central -> effect site. The concentration at the effect site after one dose D is a sum of
   three modes (partial fractions; Bateman 1910, Sheiner et al. 1979),

     Ce(t) = D ka ke0 / V * sum over r in {ka, k, ke0} of exp(-r t) / product over s != r of (s - r),

   so a step multiplies three numbers and a dose adds to them: no exp in the time loop, which runs from dose to
   dose with all state in registers. LANES patients go together, by vector extensions of GCC. */

#include <stddef.h>
#include <string.h>

#ifndef LANES
#define LANES 4
#endif

typedef double vec __attribute__((vector_size(8 * LANES)));
typedef long long mask __attribute__((vector_size(8 * LANES)));

/* Inputs that all patients share. Doses enter at the start of a span: a[s] and b[s] mg (0 for none), then
   length[s] steps of h hours. Drive: b1 CeA + b2 CeB + b3 CeA CeB; its link is 1 / (1 + exp(-b0 - drive)). */
typedef struct {
    double ke0_A, ke0_B, b0, b1, b2, b3, h;
    long spans;
    const long *length;
    const double *a, *b;
} Shared;

/* Arrays of n: CL, V, ka of drug A, then of drug B. */
typedef struct {
    const double *CL_A, *V_A, *ka_A, *CL_B, *V_B, *ka_B;
} Patients;

static inline vec choose(mask which, vec x, vec y) { return (vec)(((mask)x & which) | ((mask)y & ~which)); }

#if LANES == 4 && defined(__AVX__)
#include <immintrin.h>
static inline vec larger(vec x, vec y) { return (vec)_mm256_max_pd((__m256d)x, (__m256d)y); }
#elif LANES == 8 && defined(__AVX512F__)
#include <immintrin.h>
static inline vec larger(vec x, vec y) { return (vec)_mm512_max_pd((__m512d)x, (__m512d)y); }
#else
static inline vec larger(vec x, vec y) { return choose(x > y, x, y); }
#endif

/* exp of all lanes, for -700 < x < 700: 2^n e^r with |r| <= ln 2 / 2, Taylor to r^13 (error below 1e-17). */
static inline vec exponential(vec x)
{
    const double shift = 0x1.8p52; /* adding it rounds to a whole number, found in the low bits */
    vec n = x * 0x1.71547652b82fep0 + shift;
    mask whole = (mask)n << 52;
    n -= shift;
    vec r = x - n * 0x1.62e42fefa39efp-1 - n * 0x1.abc9e3b39803fp-56;
    vec p = r * (1.0 / 6227020800) + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return (vec)((mask)p + whole);
}

/* The lanes from patient i on; beyond the last patient, the last again. */
static inline vec load(const double *from, long i, long n)
{
    vec x;
    if (i + LANES <= n)
        memcpy(&x, from + i, sizeof x);
    else
        for (int l = 0; l < LANES; l++)
            x[l] = from[i + l < n ? i + l : n - 1];
    return x;
}

typedef struct {
    vec ka, k, ke0;
} Three;

/* What a dose of 1 mg adds to the three modes of Ce. */
static inline Three modes(vec ka, vec k, double ke0, vec V)
{
    vec scale = ka * ke0 / V, absorbed = k - ka, late = ke0 - ka, equal = ke0 - k;
    return (Three){scale / (absorbed * late), -scale / (absorbed * equal), scale / (late * equal)};
}

static inline void keep(double *trace, long row, vec A, vec B)
{
    memcpy(trace + (2 * row) * LANES, &A, sizeof A);
    memcpy(trace + (2 * row + 1) * LANES, &B, sizeof B);
}

/* The largest drive of the lanes from patient i on; `trace` (NULL but for tests) takes CeA and CeB of each time. */
static inline __attribute__((always_inline)) vec modal(const Shared *w, const Patients *p, long i, long n, double *trace)
{
    vec V_A = load(p->V_A, i, n), V_B = load(p->V_B, i, n);
    vec ka_A = load(p->ka_A, i, n), k_A = load(p->CL_A, i, n) / V_A;
    vec ka_B = load(p->ka_B, i, n), k_B = load(p->CL_B, i, n) / V_B;
    Three one_A = modes(ka_A, k_A, w->ke0_A, V_A / w->b1), one_B = modes(ka_B, k_B, w->ke0_B, V_B / w->b2);
    vec none = {0}, P = exponential(-w->h * ka_A), Q = exponential(-w->h * k_A), R = exponential(none - w->h * w->ke0_A);
    vec S = exponential(-w->h * ka_B), T = exponential(-w->h * k_B), U = exponential(none - w->h * w->ke0_B);
    vec both = none + w->b3 / (w->b1 * w->b2), one = none + 1;
    vec p1 = none, q1 = none, r1 = none, s1 = none, t1 = none, u1 = none, best = none;
    long row = 0;
    if (trace)
        keep(trace, row++, none, none);
    for (long span = 0; span < w->spans; span++) {
        double a = w->a[span], b = w->b[span];
        p1 += a * one_A.ka, q1 += a * one_A.k, r1 += a * one_A.ke0;
        s1 += b * one_B.ka, t1 += b * one_B.k, u1 += b * one_B.ke0;
        for (long step = w->length[span]; step > 0; step--) {
            p1 *= P, q1 *= Q, r1 *= R, s1 *= S, t1 *= T, u1 *= U;
            vec A = p1 + q1 + r1, B = s1 + t1 + u1;
            best = larger(A * (one + both * B) + B, best); /* A and B are b1 CeA and b2 CeB */
            if (trace)
                keep(trace, row++, A / w->b1, B / w->b2);
        }
    }
    return best;
}

/* Entries of exp(h A) of one drug: depot to depot, depot to central, ... */
typedef struct {
    vec dd, dc, cc, de, ce, ee;
} Step;

static inline Step step_of(vec ka, vec k, double ke0, double h)
{
    vec none = {0}, D = exponential(-h * ka), C = exponential(-h * k), E = exponential(none - h * ke0);
    vec absorbed = ka / (k - ka), equal = ke0 / (ke0 - k), late = ke0 / (ke0 - ka);
    return (Step){D, absorbed * (D - C), C, absorbed * (late * (D - E) - equal * (C - E)), equal * (C - E), E};
}

/* The same by the propagator: amounts in depot, central and effect site, one triangular product a step. */
static inline __attribute__((always_inline)) vec propagate(const Shared *w, const Patients *p, long i, long n, double *trace)
{
    vec V_A = load(p->V_A, i, n), V_B = load(p->V_B, i, n), none = {0};
    Step A = step_of(load(p->ka_A, i, n), load(p->CL_A, i, n) / V_A, w->ke0_A, w->h);
    Step B = step_of(load(p->ka_B, i, n), load(p->CL_B, i, n) / V_B, w->ke0_B, w->h);
    vec b1 = w->b1 / V_A, b2 = w->b2 / V_B, b3 = w->b3 / (V_A * V_B);
    vec dA = none, cA = none, eA = none, dB = none, cB = none, eB = none, best = none;
    long row = 0;
    if (trace)
        keep(trace, row++, none, none);
    for (long span = 0; span < w->spans; span++) {
        dA += w->a[span], dB += w->b[span];
        for (long step = w->length[span]; step > 0; step--) {
            eA = A.de * dA + A.ce * cA + A.ee * eA, eB = B.de * dB + B.ce * cB + B.ee * eB;
            cA = A.dc * dA + A.cc * cA, cB = B.dc * dB + B.cc * cB;
            dA *= A.dd, dB *= B.dd;
            best = larger(eA * (b1 + b3 * eB) + b2 * eB, best);
            if (trace)
                keep(trace, row++, eA / V_A, eB / V_B);
        }
    }
    return best;
}

/* Run n patients: `best` (n) takes the largest drive of each; returns the mean of its link. */
#define ENGINE(name, largest)                                                                                      \
    double name(const Shared *w, const Patients *p, long n, int threads, double *best)                             \
    {                                                                                                              \
        double total = 0;                                                                                          \
        _Pragma("omp parallel for num_threads(threads) schedule(dynamic, 256) reduction(+ : total)")               \
        for (long g = 0; g < (n + LANES - 1) / LANES; g++) {                                                       \
            long i = g * LANES;                                                                                    \
            vec x = largest(w, p, i, n, NULL), link = 1 / (1 + exponential(-w->b0 - x));                           \
            for (int l = 0; l < LANES && i + l < n; l++)                                                           \
                best[i + l] = x[l], total += link[l];                                                              \
        }                                                                                                          \
        return total / n;                                                                                          \
    }                                                                                                              \
    /* CeA and CeB of the first LANES patients at all times: (time, drug, lane). */                                \
    void name##_trace(const Shared *w, const Patients *p, long n, double *trace) { largest(w, p, 0, n, trace); }

ENGINE(w1_modal, modal)
ENGINE(w1_propagator, propagate)

int w1_lanes(void) { return LANES; }
