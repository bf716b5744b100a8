"""After the median stage come the steps of an MM-estimator."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import ShuffleSplit

from medsgd import MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression, make_heavy_tailed_regression

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
LAYOUTS = [np.asarray, sp.csr_array]
MAIN_KINDS = ["gauss", "t1.5", "cauchy", "pareto", "y10", "y10asym", "y30asym", "lev10"]


# Each takes more parameters and returns the generator with them set.
heavy_tailed = partial(partial, make_heavy_tailed_regression, bias=2)
contaminated = partial(partial, make_contaminated_regression, bias=2)
# Far from what the truth says, whatever the truth.
leverage = partial(contaminated, outliers="leverage", outlier_size=-50)
AR = {"correlation": 0.9}
KINDS = {
    "gauss": contaminated(contamination=0),
    "t1.5": heavy_tailed(tail_index=1.5),
    "cauchy": heavy_tailed(tail_index=1.0),
    "pareto": heavy_tailed(distribution="pareto", tail_index=1.2),
    "y10": contaminated(outliers="wild", outlier_size=1e3),
    "y10asym": contaminated(contamination=0.1),
    "y20asym": contaminated(contamination=0.2),
    "y30asym": contaminated(contamination=0.3),
    "lev10": leverage(contamination=0.1),
    "lev20": leverage(contamination=0.2, n_leverage_features=3),
    "far": contaminated(contamination=0, bias=1000),
    "ar": contaminated(contamination=0, **AR),
    "ar-y20asym": contaminated(contamination=0.2, **AR),
    "ar-y40": contaminated(contamination=0.4, bias=1000, **AR),
    "ar-y35cluster": contaminated(
        contamination=0.35, outliers="cluster", bias=1000, **AR
    ),
    "sparse": contaminated(contamination=0.2, density=0.3),
}


def problem(kind, *, n=2000, d=10, seed=0):
    """Data of a kind, the true coefficients and intercept, and the clean rows."""
    X, y, truth = KINDS[kind](n, d, return_truth=True, random_state=seed)
    return X, y, np.r_[truth.coef, truth.intercept], ~truth.is_outlier


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def m_estimate(X, y, start, *, scale=None, weight=None):
    """Batch bisquare M-estimate by reweighting, from ``start``.

    Without a ``scale``, at the normalised median of its own absolute residuals, made up
    for what the fit has shrunk them.
    """
    A, b = with_ones(X), start
    weight = np.ones(len(y)) if weight is None else weight
    free = np.sqrt(len(y) / (len(y) - A.shape[1]))
    for _ in range(1000):
        r = np.abs(y - A @ b)
        s = np.median(r) / 0.6744898 * free if scale is None else scale
        B = A * (weight * np.maximum(0, 1 - (r / (4.685 * s)) ** 2) ** 2)[:, np.newaxis]
        step = np.linalg.solve(B.T @ A, B.T @ (y - A @ b))
        b = b + step
        if np.abs(step).max() < 1e-9 * s:
            return b
    raise AssertionError("the batch estimate does not converge")


def parameters(est):
    return np.r_[est.coef_, est.intercept_]


def standard_errors(difference, X, rows):
    """A difference of parameters in standard errors of OLS on ``rows``, for noise 1."""
    A = with_ones(X[rows])
    return np.sqrt(difference @ (A.T @ A) @ difference / A.shape[1])


@pytest.mark.parametrize(
    "kind", ["gauss", "y20asym", "ar", "ar-y20asym", "lev20", "far"]
)
@pytest.mark.parametrize("name", MEDIANS)
def test_the_fit_solves_the_bisquare_equations_at_its_scale(name, kind):
    X, y, truth, clean = problem(kind, n=3000)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    for start in (truth, parameters(est)):
        expected = m_estimate(X, y, start, scale=est.scale_)
        gap = standard_errors(parameters(est) - expected, X, clean)
        assert gap < 0.05


def test_weights_count_in_the_equations():
    X, y, truth, clean = problem("y20asym", n=3000)
    weight = np.random.default_rng(1).integers(0, 4, 3000).astype(float)
    est = MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    expected = m_estimate(X, y, truth, scale=est.scale_, weight=weight)
    unweighted = m_estimate(X, y, truth, scale=est.scale_)
    assert standard_errors(parameters(est) - expected, X, clean) < 0.1
    assert standard_errors(unweighted - expected, X, clean) > 0.4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_data_are_refined_too(layout):
    X, y, truth, clean = problem("sparse", n=3000)
    X = X.toarray()
    est = MedianSGDRegressor(random_state=0).fit(layout(X), y)
    expected = m_estimate(X, y, truth, scale=est.scale_)
    assert standard_errors(parameters(est) - expected, X, clean) < 0.1


@pytest.mark.parametrize("variant", ["plain", "y * 1e-3", "y * 1e3", "float32"])
@pytest.mark.parametrize("kind", MAIN_KINDS)
def test_the_default_is_as_good_as_the_batch_estimate_from_the_truth(kind, variant):
    errors = []
    factor = {"y * 1e-3": 1e-3, "y * 1e3": 1e3}.get(variant, 1)
    dtype = np.float32 if variant == "float32" else np.float64
    for seed in range(2):
        X, y, truth, _ = problem(kind, seed=seed)
        est = MedianSGDRegressor(random_state=0)
        est.fit(X.astype(dtype), (factor * y).astype(dtype))
        batch = m_estimate(X, y, truth)
        errors.append(
            [np.linalg.norm(b - truth) for b in (parameters(est) / factor, batch)]
        )
    ours, theirs = np.sum(errors, axis=0)
    assert ours <= 1.1 * theirs


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["ar-y40", "ar-y35cluster"])
def test_many_outliers_among_correlated_features_far_from_the_origin(kind, seed):
    X, y, truth, clean = problem(kind, seed=seed)
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    ols = LinearRegression().fit(X[clean], y[clean])
    ours, theirs = (np.linalg.norm(parameters(e) - truth) for e in (est, ols))
    assert ours < 1.5 * theirs


def small(n=300):
    X, y, _, _ = problem("y20asym", n=n, d=4)
    return X, y


def median_stage_of(est):
    """An estimator whose fit is the first stage of another fit."""
    first = int(est.stage_starts_[0])
    return clone(est).set_params(refine=False, max_iter=first, tol=None)


@pytest.mark.parametrize("name", MEDIANS)
def test_both_stages_show(name):
    X, y = small()
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    alone = median_stage_of(est).fit(X, y)
    assert est.n_iter_ == len(est.loss_curve_) < est.max_iter
    assert alone.n_iter_ == len(alone.loss_curve_) < est.n_iter_
    assert_array_equal(est.loss_curve_[: alone.n_iter_], alone.loss_curve_)
    assert not np.array_equal(est.coef_, alone.coef_)
    assert np.isfinite(est.loss_curve_).all()
    if name.startswith("spp"):
        curve = est.clip_fraction_curve_
        assert len(curve) == est.n_iter_
        assert_array_equal(curve[: alone.n_iter_], alone.clip_fraction_curve_)
        # There it is the part that the bisquare rejects: here, the outliers.
        assert_array_equal(curve[-1], 0.2)


def test_callbacks_see_both_stages():
    X, y = small()
    alone = median_stage_of(MedianSGDRegressor(random_state=0).fit(X, y)).fit(X, y)
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="r2")
    est = MedianSGDRegressor(random_state=0).set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data
    scores = [row["r2"] for row in rows if row["parent_task_id_path"] == (0,)]
    assert len(scores) == est.n_iter_ > alone.n_iter_
    assert_allclose(scores[alone.n_iter_ - 1], alone.score(X, y), rtol=1e-12)
    assert_allclose(scores[-1], est.score(X, y), rtol=1e-12)


class StopAfter:
    """A callback that stops the fit after so many epochs."""

    def __init__(self, n_epochs):
        self.n_epochs, self.seen = n_epochs, 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, **kwargs):
        if context.parent is None:
            return None
        self.seen += 1
        return self.seen == self.n_epochs


def test_a_callback_that_stops_the_first_stage_stops_the_fit():
    pytest.importorskip("sklearn.callback")
    X, y = small()
    est = MedianSGDRegressor(random_state=0).set_callbacks(StopAfter(3)).fit(X, y)
    assert est.n_iter_ == 3
    alone = MedianSGDRegressor(refine=False, max_iter=3, tol=None, random_state=0)
    assert_array_equal(est.coef_, alone.fit(X, y).coef_)


def test_a_callback_can_stop_the_second_stage():
    pytest.importorskip("sklearn.callback")
    X, y = small()
    first = MedianSGDRegressor(random_state=0).fit(X, y).stage_starts_[0]
    est = MedianSGDRegressor(random_state=0).set_callbacks(StopAfter(first + 2))
    assert est.fit(X, y).n_iter_ == first + 2


@pytest.mark.parametrize("max_iter", [1, 2, 3])
@pytest.mark.parametrize("name", MEDIANS)
def test_the_stages_share_max_iter(name, max_iter):
    X, y = small()
    params = {"gradient_estimator": name, "random_state": 0, "max_iter": max_iter}
    est = MedianSGDRegressor(**params)
    with pytest.warns(ConvergenceWarning):
        est.fit(X, y)
    assert est.n_iter_ == len(est.loss_curve_) == max_iter
    assert np.isfinite(parameters(est)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        est.set_params(tol=None).fit(X, y)
    assert est.n_iter_ == max_iter
    first = (max_iter + 1) // 2
    alone = MedianSGDRegressor(**params | {"max_iter": first}, refine=False, tol=None)
    assert_array_equal(alone.fit(X, y).loss_curve_, est.loss_curve_[:first])
    assert np.array_equal(alone.coef_, est.coef_) == (max_iter == 1)


def test_a_stream_of_the_mean_is_never_refined():
    X, y = small()
    params = {"gradient_estimator": "mean", "random_state": 0}
    one = MedianSGDRegressor(refine=True, **params)
    other = MedianSGDRegressor(refine=False, **params)
    for rows in np.array_split(np.arange(len(y)), 3):
        one.partial_fit(X[rows], y[rows])
        other.partial_fit(X[rows], y[rows])
        assert_array_equal(parameters(one), parameters(other))
        assert one.n_iter_ == len(one.loss_curve_) == 1


def test_the_mean_is_never_refined():
    X, y = small()
    est = MedianSGDRegressor(gradient_estimator="mean", random_state=0)
    expected = est.set_params(refine=False).fit(X, y).coef_
    assert_array_equal(est.set_params(refine=True).fit(X, y).coef_, expected)


@pytest.mark.parametrize("name", MEDIANS)
def test_a_stream_goes_on_from_the_refined_solution(name):
    X, y = small()
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    refined, t = parameters(est), est.t_
    est.set_params(eta0=1e-300).partial_fit(X, y)
    assert_allclose(parameters(est), refined, rtol=1e-12)
    assert est.t_ > t
    est.set_params(eta0=1e-3, alpha=0).partial_fit(X[:1], y[:1])
    step = parameters(est) - refined
    assert 0 < np.linalg.norm(step) < 0.1


@pytest.mark.parametrize("name", MEDIANS)
def test_early_stopping_watches_both_stages(name):
    X, y, _, clean = problem("y20asym", n=900, d=4)
    est = MedianSGDRegressor(
        gradient_estimator=name, early_stopping=True, random_state=0
    ).fit(X, y)
    alone = median_stage_of(est).fit(X, y)
    assert_array_equal(est.loss_curve_[: alone.n_iter_], alone.loss_curve_)
    assert est.outliers_.shape == y.shape
    # The exact steps are those of the other rows.
    held_out = ShuffleSplit(1, test_size=est.validation_fraction, random_state=0)
    rows, _ = next(held_out.split(X))
    other = MedianSGDRegressor(random_state=0).fit(X[rows], y[rows])
    assert standard_errors(parameters(est) - parameters(other), X, clean) < 1e-4


def test_a_refined_fit_travels():
    X, y = small()
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    other = pickle.loads(pickle.dumps(est))
    assert_array_equal(other.outliers_, est.outliers_)
    assert other.scale_ == est.scale_
    again = clone(est)
    assert not hasattr(again, "scale_")
    assert_array_equal(parameters(again.fit(X, y)), parameters(est))
    for one in (est, other):
        one.partial_fit(X, y)
    assert_array_equal(parameters(other), parameters(est))


def test_zeros_of_an_l1_penalty_that_few_rows_leave_are_exact():
    # Fewer than five rows for each of many parameters: the steps are stochastic.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 70))
    y = X[:, :3] @ [3, -2, 1] + 0.5 * rng.standard_normal(200)
    y[:20] += 30
    est = MedianSGDRegressor(penalty="l1", alpha=0.1, random_state=0).fit(X, y)
    assert_array_equal(est.coef_[:3] != 0, True)
    assert np.count_nonzero(est.coef_) < 10
