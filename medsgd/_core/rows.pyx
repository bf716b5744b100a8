"""Rows in the units of the exact steps."""

from medsgd._core.checks cimport require


ctypedef fused real:
    float
    double


def standardise(
    const real[:, ::1] X, const double[::1] center, const double[::1] inverse_scale,
    double largest, double[:, ::1] out,
):
    """Write ``(X - center) * inverse_scale``, clipped, after the first columns of out.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    center, inverse_scale : ndarray of shape (n_features,)
    largest : float
        Largest size of a value.
    out : ndarray of shape (n_rows, n_first + n_features)
        The first columns become 1.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n = X.shape[0], d = X.shape[1], first = out.shape[1] - d, i, j
        double value
        const double* shift
        const double* factor
        const real* row
        double* target
    require(center.shape[0] == d, "center")
    require(inverse_scale.shape[0] == d, "inverse_scale")
    require(out.shape[0] == n and first >= 0, "out")
    if n == 0:
        return
    if d == 0:
        out[:, :] = 1
        return
    with nogil:
        shift, factor = &center[0], &inverse_scale[0]
        for i in range(n):
            row, target = &X[i, 0], &out[i, 0]
            for j in range(first):
                target[j] = 1
            target += first
            for j in range(d):
                value = (row[j] - shift[j]) * factor[j]
                # NaN is kept, because comparisons with NaN are false.
                value = largest if value > largest else value
                target[j] = -largest if value < -largest else value
