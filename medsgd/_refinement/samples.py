"""Samples of rows that represent all rows, and the leverage of their rows."""

import numpy as np

from medsgd._fit.units import leverage_limit
from medsgd._refinement.rows import drawn, ranks

# A sample of the rows has at least so many of those in which a feature is present.
N_PRESENT = 20
# Lower bound on a sparse feature's share of non-zeros, for leverage.
SMALLEST_SHARE = 0.1


def leverage_weights(rows):
    """Return the weights by which rows of leverage count less.

    If a feature is mostly one value, its spread is that of the other values. A row then
    has no leverage only because the feature is rare.
    """
    share = rows.present_share
    factors = np.where(share < 0.5, np.maximum(share, SMALLEST_SHARE), 1.0)
    limit = leverage_limit(len(factors))
    return (limit / np.maximum(rows.squared_norms(factors), limit)) ** 3


def sample(rows, size, *, ranked=False):
    """Return at most about ``size`` rows with a weight, always the same.

    Rows are drawn by their weight from all parts of the data. With ``ranked`` they are
    drawn from all parts of the sorted targets, so that the order of the rows has no
    influence. A feature that is rarely present in the sample gets more rows, which
    share the weight that such rows have together.
    """
    used = np.flatnonzero(rows.weight)
    if len(used) <= size:
        return rows if len(used) == rows.n_rows else rows.take(used, rows.weight[used])
    order = ranks(rows.X, rows.y) if ranked else np.arange(rows.n_rows)
    weight = drawn(rows.weight, size, order)
    few = rows.take(order[weight[order] > 0], weight[order][weight[order] > 0])
    if not _add_rare_rows(rows, few, weight, size / rows.total):
        return few
    chosen = order[weight[order] > 0]
    return rows.take(chosen, weight[chosen])


def _add_rare_rows(rows, few, weight, factor):
    """Give weights to more of the rows in which rare features are present.

    All such rows of the sample share the weight that they have together. A row that was
    drawn by chance counts no more than the others.
    """
    is_changed = False
    for present in rows.present(
        np.flatnonzero(few.present_share * few.total < N_PRESENT)
    ):
        present = present[rows.weight[present] > 0]
        total = factor * rows.weight[present].sum()
        is_changed |= _share(rows.y, present, weight, total)
    return is_changed


def share_rare_weight(rows, columns, totals):
    """Give rows in which rare features are present these total weights together.

    Rows of weight 0 are additional rows, which get a weight if they are needed.
    """
    for present, total in zip(rows.present(columns), totals, strict=True):
        _share(rows.y, present, rows.weight, total)


def _share(y, present, weight, total):
    """Let a rare feature's rows share a weight, and return whether there are more."""
    drawn = weight[present] > 0
    n_more = N_PRESENT - np.count_nonzero(drawn)
    more = of_all_sizes(y, present[~drawn], n_more)
    if len(more) == 0:
        return False
    own = np.append(present[drawn], more)
    weight[own] = total / len(own)
    return True


def of_all_sizes(y, rows, n):
    """Return at most n of the rows, from all parts of their sorted targets."""
    n = min(n, len(rows))
    if n <= 0:
        return rows[:0]
    rows = rows[np.argsort(y[rows], kind="stable")]
    return rows[np.linspace(0, len(rows) - 1, n).astype(np.intp)]
