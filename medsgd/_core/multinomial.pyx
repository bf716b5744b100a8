"""Losses of labels under a multinomial model, and their derivatives."""

from libc.math cimport exp, fabs, log, log1p

from medsgd._core.checks cimport all_below, require

import numpy as np


# Lower bound of a probability, so that its logarithm is finite.
cdef double SMALLEST = 1e-300


cdef void less_the_largest(double[:, ::1] logits, double factor) noexcept nogil:
    """Replace each row by ``factor * (row - max(row))``."""
    cdef Py_ssize_t i, j
    cdef double largest
    for i in range(logits.shape[0]):
        largest = logits[i, 0]
        for j in range(1, logits.shape[1]):
            largest = max(largest, logits[i, j])
        for j in range(logits.shape[1]):
            logits[i, j] = factor * (logits[i, j] - largest)


cdef Py_ssize_t check_rows(
    const double[:, ::1] logits, const Py_ssize_t[::1] label, const double[::1] weight,
) except -1:
    """Check that arrays fit each other; return the number of classes."""
    cdef Py_ssize_t n = logits.shape[0], n_classes = max(logits.shape[1], 2)
    require(logits.shape[1] > 0, "logits")
    require(label.shape[0] == n, "label")
    require(weight.shape[0] == n, "weight")
    require(n == 0 or all_below(&label[0], n, n_classes), "label")
    return n_classes


def divergence(
    double[:, ::1] logits, const Py_ssize_t[::1] label, const double[::1] weight,
    double gamma,
):
    """Return each row's loss; ``logits`` become derivatives of the weighted sum.

    The loss of a row is ``(a / gamma) * (1 - q ** (gamma / a))``, a = 1 + gamma, with q
    the probability of its label for the logits times a. One column of logits is that of
    class 1 of two classes.

    Raises
    ------
    ValueError
        If arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n = logits.shape[0], n_outputs = logits.shape[1], i, j
        double a = 1 + gamma, power = gamma / (1 + gamma)
        double sign, total, own, kept, along
        double* row
    require(gamma > 0, "gamma")
    check_rows(logits, label, weight)
    result = np.empty(n)
    cdef double[::1] loss = result
    if n_outputs > 1:
        with nogil:
            less_the_largest(logits, a)
            for i in range(n):
                loss[i] = logits[i, label[i]]
        # NumPy computes several exponentials at a time.
        np.exp(logits, out=np.asarray(logits))
    with nogil:
        for i in range(n):
            row = &logits[i, 0]
            if n_outputs == 1:
                sign = 1 if label[i] == 1 else -1
                along = sign * a * row[0]
                # These formulas of log(q) and 1 - q do not cancel.
                if along > 0:
                    total = exp(-along)
                    kept = exp(-power * log1p(total))
                    own = total / (1 + total)
                else:
                    total = exp(along)
                    kept = exp(power * (along - log1p(total)))
                    own = 1 / (1 + total)
                row[0] = -weight[i] * a * sign * kept * own
            else:
                total = 0
                for j in range(n_outputs):
                    total += row[j]
                kept = exp(power * (loss[i] - log(total)))
                along = weight[i] * a * kept
                for j in range(n_outputs):
                    row[j] *= along / total
                row[label[i]] -= along
            loss[i] = (1 - kept) / power
    return result


def log_loss_with_noise(
    double[:, ::1] logits, const Py_ssize_t[::1] label, const double[::1] weight,
    const double[::1] share, double noise,
):
    """Return the weighted sum of log losses of labels, a part of them random.

    A label k has the probability ``(1 - noise) * p[k] + noise * share[k]``. ``logits``,
    as for ``divergence``, become the derivatives of the sum.

    Raises
    ------
    ValueError
        If arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n = logits.shape[0], n_outputs = logits.shape[1], i, j
        double loss = 0, total, own, drawn, factor
        double* row
    require(share.shape[0] == check_rows(logits, label, weight), "share")
    if n_outputs > 1:
        with nogil:
            less_the_largest(logits, 1)
        np.exp(logits, out=np.asarray(logits))
    with nogil:
        for i in range(n):
            row = &logits[i, 0]
            if n_outputs == 1:
                total = exp(-fabs(row[0]))
                own = 1 if (label[i] == 1) == (row[0] > 0) else total
                own /= 1 + total
            else:
                total = 0
                for j in range(n_outputs):
                    total += row[j]
                own = row[label[i]] / total
            drawn = max((1 - noise) * own + noise * share[label[i]], SMALLEST)
            loss -= weight[i] * log(drawn)
            # Minus the derivative of the loss in log(own).
            factor = weight[i] * (1 - noise) * own / drawn
            if n_outputs == 1:
                row[0] = (-factor if label[i] == 1 else factor) * (1 - own)
            else:
                for j in range(n_outputs):
                    row[j] *= factor / total
                row[label[i]] -= factor
    return loss
