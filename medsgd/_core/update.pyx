"""The gradient estimator for gradients that are the rows of an array."""

from cython cimport floating

from medsgd._core.checks cimport require
from medsgd._core.estimators cimport Dense, Estimate, estimate
from medsgd._core.medians cimport Gradients, Room, place_gradients, size_of_gradients
from medsgd._core.settings cimport EstimatorSettings
from medsgd._core.spp cimport Clipping, Rate
from medsgd._core.vector cimport MEDIAN_ROOM


def update(
    EstimatorSettings cfg not None,
    const floating[:, ::1] gradients,
    const double[::1] weights,
    floating[::1] m,
    floating[::1] s,
    double n_updates,
):
    """Bring the location ``m`` and its scale ``s`` up to date with some gradients.

    Both have one element more than a gradient, for an intercept, which these gradients
    lack. The scale of a norm has one element. ``n_updates`` counts the gradients before
    these.

    Raises
    ------
    ValueError
        If arrays do not fit each other.
    """
    cdef:
        Py_ssize_t i, n = gradients.shape[0], d = gradients.shape[1]
    require(n > 0 and d > 0, "gradients")
    require(<double>n * (n + MEDIAN_ROOM + 10) < 2.0 ** 59, "gradients")
    require(weights.shape[0] == n, "weights")
    require(m.shape[0] == d + 1, "m")
    require(
        s.shape[0] == d + 1 or (s.shape[0] > 0 and not cfg.by_coordinate),
        "s",
    )

    cdef:
        size_t size = size_of_gradients(n, cfg.gradient_estimator)
        size_t n_bytes = size + n * sizeof(void*)
        Room room = Room(n_bytes + (d + n * MEDIAN_ROOM) * sizeof(floating))
        const floating** x = <const floating**>(room.start + size)
        floating* median_room = <floating*>(room.start + n_bytes)
        Gradients g
        Dense tracked
        Clipping clipping
        Rate rate
        Estimate location
        const floating* row

    place_gradients(&g, n, <double*>room.start)
    tracked.m, tracked.s, tracked.n_features = &m[0], &s[0], d
    tracked.n_updates, tracked.squared_norm = n_updates, 0
    clipping.n_residuals = clipping.n_clipped = 0
    rate.value = -1
    with nogil:
        for i in range(n):
            x[i] = &gradients[i, 0]
            g.multiple[i], g.weight[i] = 1, weights[i]
            # An average or a sample median needs relative weights.
            g.sample_weight[i] = weights[i] if cfg.proximal else 1
        row = estimate(
            cfg, &tracked, x, &g, 1, median_room, &rate, &clipping, &location,
        )
        if not cfg.tracks_location:
            for i in range(d):
                m[i] = <floating>(location.multiple * row[i])
