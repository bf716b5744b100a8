"""Coordinates that are brought up to date when a sparse row next needs them.

Coordinates outside a row all move in the same, known way. Which way depends on how the
location m is tracked; ``catch_up`` in lazy.pyx covers both, and every coordinate must
go through it before it is read or written.

- Linear (mean with momentum, sample medians, SPP for the l2 norm): between the rows
  that have a coordinate, m shrinks by factors common to all, and the coefficients move
  along m. With m = shrink * v, the coefficients are frame.scale * (u + drift v). A
  change of v is made up for in u. When ``shrink`` has become small (u and drift v would
  cancel) or 0, a new generation begins: the old drift is recorded and folded into u
  when a coordinate is next touched.
- Soft thresholding (SPP for the l1 norm): m_j moves towards 0 by its radius at each
  update. The updates that a coordinate missed are replayed until m_j is 0; as every row
  that has the coordinate moves m_j by at most a radius, this is O(1) amortised.
"""

from medsgd._core.medians cimport Gradients
from medsgd._core.settings cimport Settings
from medsgd._core.spp cimport Clipping
from medsgd._core.steps cimport Frame


cdef struct Coordinate:
    double u
    double sums         # the part of the averages' sum not in frame.sum_scale * u
    double m[2]         # v or m, one per stratum
    Py_ssize_t seen[2]  # generation of v, or number of updates applied to m
    double paid         # L1 penalty received
    Py_ssize_t slot     # place among the coordinates of the current iteration, or -1


cdef struct Drift:
    # Thresholding: the running sums at the last catch-up, and the scales of |g - m|.
    double steps
    double weighted_steps
    double s[2]


cdef struct Stratum:
    double share        # of the class in the step
    double intercept    # of the location
    double n_updates    # of the scale, over all passes
    double s            # running median of |g - m|, l2
    Py_ssize_t n_seen   # generation, or updates in this pass
    # Linear
    double shrink
    double drift
    double sum_drift    # coefficient of v in the averages' sum
    double squared_norm  # of m, features only
    # By generation: drift, its part in sums, shrink. By update: running sums, weight of
    # the term, share of a step that is not clipped.
    double* log[4]


cdef struct Lazy:
    Py_ssize_t n_features
    Py_ssize_t n_strata
    bint thresholding
    Frame frame
    Coordinate* coordinates
    Drift* drifts       # thresholding only
    Stratum strata[2]
    # Thresholding: sums over iterations of the step and of frame.sum_scale * step.
    double steps
    double weighted_steps


cdef double coefficient(const Lazy* lazy, Py_ssize_t j) noexcept nogil
cdef void catch_up(Settings cfg, Lazy* lazy, Py_ssize_t j) noexcept nogil
cdef void follow(
    Lazy* lazy, Py_ssize_t k, double factor, double scale, double intercept,
    const double* x, const Py_ssize_t* index, Py_ssize_t n,
) noexcept nogil
cdef double follow_l2(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Clipping* clipping,
) noexcept nogil
cdef void follow_l1(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Clipping* clipping,
) noexcept nogil
cdef void step_along_locations(Lazy* lazy, double step) noexcept nogil
cdef void count_average(Lazy* lazy) noexcept nogil
cdef void materialise(Settings cfg, Lazy* lazy, bint sum_up) noexcept nogil
