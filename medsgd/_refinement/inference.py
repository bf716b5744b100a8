"""Standard errors: the covariance of the coefficients that an M step has ended at.

The covariance follows from sums over rows. ``Sums`` of parts of the rows add up to
those of all rows. The formulas are those of R's robustbase, ``.vcov.avar1`` and
``.vcov.w``, with rows that count by their weights.

C. Croux, G. Dhaene, D. Hoorelbeke, "Robust Standard Errors for Robust Estimators",
Discussion Papers Series 03.16, KU Leuven 2003. V. Yohai, W. Stahel, R. Zamar, "A
Procedure for Robust Estimation and Inference in Linear Regression", in Directions in
Robust Statistics and Diagnostics, 1991.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

import medsgd._core.bisquare as bisquare
from medsgd._refinement.bisquare import (
    BREAKDOWN,
    M_CONSTANT,
    S_CONSTANT,
    m_weights,
)
from medsgd._refinement.least_squares import COLLINEAR
from medsgd._refinement.rows import Summable

# A parameter is not determined where it has a larger part than this in directions in
# which the rows are 0.
UNDETERMINED = 1e-6
# Pivots below this share of the largest: the covariance is then computed in directions
# that the rows make orthogonal, where their curvature is far from singular.
NEARLY_COLLINEAR = 1e-8
# Eigenvalues of a Gram matrix below this share of the largest are but rounding.
ROUNDED = 1e-13
# E[w(u)] / E[u psi(u)] for a standard normal u and the bisquare of the M step: with it
# R^2 estimates the R^2 of least squares for normal noise.
CONSISTENCY = 1.207617


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums(Summable):
    """Sums over rows z, of functions of their residuals.

    ``u`` and ``u0`` are the residuals of the M step and of the S step in their scales.
    ``w(u)`` and ``psi(u)`` are the weight and the derivative of the M step's bisquare,
    ``chi(u0)`` is the S step's bisquare. The last four attributes are None unless the
    covariance is to be robust.

    Attributes
    ----------
    total : float
        How many rows count.
    weight, slope, square_slope, square : float
        Sums of ``w``, ``psi'``, ``psi'**2`` and ``psi**2``.
    gram : ndarray of shape (n_parameters, n_parameters)
        Sum of ``w z z'``.
    pull : ndarray of shape (n_parameters,)
        Sum of ``psi z``: 0 at the fixed point.
    curvature, spread : ndarray of shape (n_parameters, n_parameters)
        Sums of ``psi' z z'`` and of ``psi**2 z z'``.
    scale_moments : ndarray of shape (n_parameters, 2)
        Sums of ``psi' u z`` and of ``psi chi z``.
    scale_sums : ndarray of shape (2,)
        Sums of ``chi' u0`` and of ``chi**2 - 1/4``.
    """

    total: float
    weight: float
    slope: float
    square_slope: float
    square: float
    gram: np.ndarray
    pull: np.ndarray
    curvature: np.ndarray | None = None
    spread: np.ndarray | None = None
    scale_moments: np.ndarray | None = None
    scale_sums: np.ndarray | None = None

    @classmethod
    def of(cls, rows, m_fit, s_fit=None, *, are_copies=True):
        """Return the sums over some rows.

        Parameters
        ----------
        rows : Rows
        m_fit, s_fit : tuple of ndarray of shape (n_parameters,) and float
            Coefficients and scale of each step. Without the S step's there are the
            sums for a homoscedastic covariance only.
        are_copies : bool, default=True
            Whether a row of weight w is w independent rows. Otherwise it is one, and
            squares of its terms have the factor w**2.
        """
        (b, scale), count = m_fit, rows.weight
        residual = rows.residuals(b)
        kept, slope, pull, *_ = bisquare.pull(residual, count, M_CONSTANT * scale)
        pull /= scale
        square = pull * (_divided(pull, count) if are_copies else pull)
        sums = {
            "total": rows.total,
            "weight": kept.sum(),
            "slope": slope.sum(),
            "square_slope": slope @ _divided(slope, count),
            "square": square.sum(),
        }
        if s_fit is None:
            return cls(gram=rows.gram(kept), pull=rows.moments(pull), **sums)
        chi, sums["scale_sums"] = _of_scale(rows, *s_fit, are_copies)
        with np.errstate(over="ignore", invalid="ignore"):
            by_u = np.where(slope, slope * (residual / scale), 0)
        moments = rows.moments(np.stack([pull, by_u, pull * chi], axis=1))
        grams = rows.grams([kept, slope, square])
        sums |= zip(("gram", "curvature", "spread"), grams, strict=True)
        return cls(pull=moments[:, 0], scale_moments=moments[:, 1:], **sums)


def _divided(values, count):
    """Return values by counts; 0 of a row without one."""
    return np.divide(values, count, out=np.zeros_like(values), where=count > 0)


def _of_scale(rows, b, scale, are_copies):
    """Return the factor of ``psi`` in ``Sums.scale_moments``, and ``Sums.scale_sums``.

    Rows that are no copies need the bisquare less 1/2, its mean, and their weights.
    """
    count, ratio = rows.weight, rows.residuals(b) / (S_CONSTANT * scale)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.fmin(ratio * ratio, 1)
    left = 1 - squares
    chi = 1 - left**3
    slope = 6 * squares * left**2
    if are_copies:
        return chi, np.array([slope, chi * chi - BREAKDOWN**2]) @ count
    chi = count * (chi - BREAKDOWN)
    return chi, np.array([slope @ count, chi @ chi])


class Inference:
    """Covariance of the parameters of an M step, and undetermined directions.

    Parameters
    ----------
    sums : Sums
    scale : float
        Of the M step.

    Attributes
    ----------
    rank : int
        How many parameters the rows determine.
    """

    def __init__(self, sums, scale):
        self.sums, self.scale = sums, scale
        diagonal = sums.gram.diagonal()
        self.root = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        self.basis, self.null = None, np.empty((len(diagonal), 0))
        scaled = self._reduced(sums.gram)
        self.inverse = _inverse(scaled, NEARLY_COLLINEAR)
        if self.inverse is None:
            size, vectors = np.linalg.eigh(scaled)
            seen = size > ROUNDED * size[-1]
            vectors *= self.root[:, np.newaxis]
            self.basis = vectors[:, seen] / np.sqrt(size[seen])
            self.null = vectors[:, ~seen]
            self.inverse = np.eye(self.basis.shape[1])
        self.rank = len(self.inverse)

    def _reduced(self, matrix):
        """Return a matrix of sums, in the directions that the rows determine."""
        if self.basis is None:
            return self.root[:, np.newaxis] * matrix * self.root
        return self.basis.T @ matrix @ self.basis

    def _reduced_columns(self, vectors):
        if self.basis is None:
            return (self.root * vectors.T).T
        return self.basis.T @ vectors

    def _expanded(self, covariance):
        """Return the covariance of parameters from that in the reduced directions."""
        if self.basis is None:
            return self.root[:, np.newaxis] * covariance * self.root
        return self.basis @ covariance @ self.basis.T

    def is_determined(self, transform):
        """Whether the rows determine each of some linear functions of the parameters.

        ``transform``: callable that gives the functions of columns of parameters.
        """
        part = np.linalg.norm(transform(self.null), axis=1)
        size = np.linalg.norm(transform(np.diag(self.root)), axis=1)
        return part <= UNDETERMINED * size

    def step(self):
        """Return the step of a pass of the M step without a penalty."""
        step = self.scale * (self.inverse @ self._reduced_columns(self.sums.pull))
        return self.root * step if self.basis is None else self.basis @ step

    def homoscedastic(self):
        """Return the covariance for noise that does not depend on the features."""
        sums, n, p = self.sums, self.sums.total, self.rank
        slope = sums.slope / n
        variance = sums.square_slope / n - slope**2
        # P. Huber's correction, to the first order of p / n.
        huber = (1 + p / n * variance / slope**2) ** 2
        noise = self.scale**2 * (sums.square / n) / slope**2
        factor = noise * huber * (sums.weight / n) * (n / (n - p))
        return factor * self._expanded(self.inverse)

    def robust(self):
        """Return the covariance for any noise, of the equations of both steps.

        Returns
        -------
        ndarray of shape (n_parameters, n_parameters), or None
            None if the M step has no minimum here.
        """
        sums, n = self.sums, self.sums.total
        A = _inverse(self._reduced(sums.curvature))
        if A is None:
            return None
        A *= self.scale
        by_scale, with_chi = self._reduced_columns(sums.scale_moments).T
        chi_slope, chi_spread = sums.scale_sums / n
        a = A @ by_scale / chi_slope
        crossed = np.outer(a, A @ with_chi / n)
        covariance = A @ self._reduced(sums.spread) @ A
        covariance += chi_spread / n * np.outer(a, a) - crossed - crossed.T
        return self._expanded(covariance)


def _inverse(matrix, least=COLLINEAR):
    """Return the inverse of a matrix, or None if pivots are not above ``least``.

    Its diagonal is near 1.
    """
    factor, info = lapack.dpotrf(matrix, lower=True)
    if info != 0 or not factor.diagonal().min() ** 2 > least:
        return None
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    return np.tril(inverse) + np.tril(inverse, -1).T


def r_squared(y, residual, scale, count, *, centered):
    """Return R^2 of rows that count by their weights in an M step of this scale.

    O. Renaud, M.-P. Victoria-Feser, "A Robust Coefficient of Determination for
    Regression", Journal of Statistical Planning and Inference 2010.

    Parameters
    ----------
    y, residual : ndarray of shape (n_rows,)
    scale : float
    count : ndarray of shape (n_rows,)
        How many rows each of them counts as.
    centered : bool
        Whether the fit has an intercept.
    """
    if scale == 0:  # of an exact fit, whose other rows are outliers
        return 1.0
    kept = count * m_weights(residual, scale, 0.0)
    used = kept > 0
    if not used.any():
        return np.nan
    y, residual, kept = y[used], residual[used], kept[used]
    # R^2 has no unit, and squares of large numbers overflow.
    unit = max(np.abs(y).max(), np.abs(residual).max()) or 1.0
    y, residual, kept = y / unit, residual / unit, kept / kept.max()
    # So that sums of squares keep their digits.
    y = y - np.average(y, weights=kept) if centered else y
    return _r_squared(_squares(y, residual, kept), centered=centered)


def _squares(y, residual, kept):
    """Return weighted sums for R^2: of 1, y, its square and the squared residual."""
    return np.array(
        [kept.sum(), kept @ y, kept @ np.square(y), kept @ np.square(residual)]
    )


def _r_squared(squares, *, centered):
    count, first, around, left = squares
    if count == 0:
        return np.nan
    around -= first**2 / count if centered else 0.0
    total = around + (CONSISTENCY - 1) * left
    return float((around - left) / total) if total > 0 else 1.0


@dataclass(frozen=True, eq=False)
class TableSums(Summable):
    """Sums over rows for a table of coefficients.

    Attributes
    ----------
    sums : Sums
    outlying : float
        Weight of the rows whose residuals are beyond a limit.
    squares : ndarray of shape (4,)
        The sums for R^2.
    """

    sums: Sums
    outlying: float
    squares: np.ndarray

    @classmethod
    def of(cls, rows, m_fit, s_fit, limit, *, are_copies=True):
        """Return the sums over some rows.

        ``limit``: of outliers, in scales; for the others see ``Sums.of``.
        """
        scale, residual = m_fit[1], rows.residuals(m_fit[0])
        kept = rows.weight * m_weights(residual, scale, 0.0)
        used = kept > 0
        return cls(
            Sums.of(rows, m_fit, s_fit, are_copies=are_copies),
            float(rows.weight @ (np.abs(residual) > limit * scale)),
            _squares(rows.y[used], residual[used], kept[used]),
        )

    def is_possible(self, weight, job):
        """Whether all sums are finite."""
        values = [v for v in vars(self.sums).values() if v is not None]
        return all(np.isfinite(v).all() for v in (*values, self.outlying, self.squares))

    def r_squared(self, *, centered):
        """Return R^2 of the rows."""
        return _r_squared(self.squares, centered=centered)
