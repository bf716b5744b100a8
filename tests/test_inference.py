"""Standard errors, intervals and weights of rows: R's, copies, coverage, errors."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from _designs import SEEDS, TESTS, designs, lmrob, load
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.integrate import quad
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import HuberRegressor, LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._fit.data import Data
from medsgd._refinement import inference
from medsgd._refinement.exact import ExactStage
from medsgd.datasets import make_contaminated_classification
from medsgd.inspection import CoefficientTable, coefficient_table, robust_r2

M_CONSTANT = 4.685061
COVARIANCES = ["robust", "homoscedastic"]
LAYOUTS = [np.asarray, sp.csr_array]
each_covariance = pytest.mark.parametrize("covariance", COVARIANCES)


def problem(n=300, d=4, *, share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * [1.0, 10.0, 0.1, *[1.0] * (d - 3)] + 3
    y = X @ rng.standard_normal(d) + rng.standard_normal(n) * (1 + (X[:, 0] > 3))
    y[: int(share * n)] += 100
    return X, y


def fit(X, y, *, sample_weight=None, **params):
    est = MedianSGDRegressor(random_state=0, **params)
    return est.fit(X, y, sample_weight=sample_weight)


@pytest.fixture(scope="module")
def diabetes():
    """Frame of the features in their units, and targets."""
    pytest.importorskip("pandas")
    return load_diabetes(return_X_y=True, as_frame=True, scaled=False)


def assert_same_table(table, other, rtol=1e-6, scale=1.0):
    """Tables of the same fit, the other's targets in another unit."""
    assert_array_equal(table.names, other.names)
    assert_allclose(table.coef, scale * other.coef, rtol, 1e-9)
    assert_allclose(table.std_error, scale * other.std_error, rtol)
    assert_allclose(table.p_value, other.p_value, 100 * rtol, 1e-12)
    assert_allclose(table.r2, other.r2, rtol)
    assert_allclose(table.scale, scale * other.scale, rtol)
    assert table.n_samples == other.n_samples
    assert table.rank == other.rank


@pytest.mark.parametrize("name", designs.DESIGNS)
def test_standard_errors_of_lmrob(name):
    for seed in SEEDS:
        known, design = lmrob(name, seed), designs.draw(name, seed)
        # Its S scale prefers the outliers of 40% leverage.
        if known is None or name == "leverage 40%":
            continue
        reg = fit(design.X, design.y)
        for covariance, key in (("robust", "se"), ("homoscedastic", "se_w")):
            table = coefficient_table(reg, design.X, design.y, covariance=covariance)
            assert_allclose(table.std_error, known[key], rtol=2e-3)
            assert_allclose(table.coef, np.append(reg.intercept_, reg.coef_))


def test_the_table_of_r_without_an_intercept(diabetes):
    X, y = diabetes
    reg = fit(X, y, fit_intercept=False)
    table = coefficient_table(reg, X, y)
    # summary(lmrob(y ~ . - 1)) of robustbase 0.95-0.
    std_error = [
        *(0.214351190408, 6.042081338610, 0.830845617203, 0.242555724869),
        *(0.377876490959, 0.395995679027, 0.378078908167, 6.292145528209),
        *(9.041007450068, 0.277319855336),
    ]
    assert_allclose(table.std_error, std_error, rtol=1e-4)
    assert_allclose([table.r2, robust_r2(reg, X, y)], 0.892966542252, rtol=1e-5)
    assert_array_equal(table.names, X.columns)


def test_what_follows_from_standard_errors(diabetes):
    X, y = diabetes
    table = coefficient_table(fit(X, y), X, y, confidence=0.9)
    assert_allclose(table.std_error, np.sqrt(table.covariance.diagonal()))
    assert_allclose(table.z, table.coef / table.std_error)
    t = stats.t(len(y) - 11)
    assert_allclose(table.p_value, 2 * t.cdf(-np.abs(table.z)), rtol=1e-8)
    half = t.ppf(0.95) * table.std_error
    assert_allclose(table.lower, table.coef - half)
    assert_allclose(table.upper, table.coef + half)
    assert_allclose(table.covariance, table.covariance.T)
    assert np.linalg.eigvalsh(table.covariance).min() > 0
    assert (table.n_samples, table.rank, table.confidence) == (442, 11, 0.9)
    reg = fit(X, y)
    assert table.scale == reg.scale_
    assert table.outlier_share == reg.outliers_.mean()
    # summary(lmrob(y ~ .)) of robustbase 0.95-0.
    assert_allclose(table.r2, 0.5251751555, rtol=1e-5)
    assert_allclose(robust_r2(reg, X, y), table.r2)


def by_hand(reg, X, y):
    """Both covariances, of all rows at once and of the equations of the estimate."""
    Z = np.column_stack([np.ones(len(y)), X])
    n, p = Z.shape
    s_coef, s_intercept, s_scale = reg._s_fit

    def psi(r):
        u = np.minimum((r / M_CONSTANT) ** 2, 1)
        return r * (1 - u) ** 2, (1 - u) * (1 - 5 * u), (1 - u) ** 2

    def chi(r):
        u = np.minimum((r / 1.547645) ** 2, 1)
        return 1 - (1 - u) ** 3, 6 * u * (1 - u) ** 2

    def equations(coef, scale):
        """Of the M step and of the scale, a row a sample."""
        value, slope, kept = psi((y - Z @ coef) / scale)
        rho, rho_slope = chi((y - X @ s_coef - s_intercept) / s_scale)
        return value, slope, kept, rho, rho_slope

    coef = np.append(reg.intercept_, reg.coef_)
    value, slope, kept, rho, rho_slope = equations(coef, reg.scale_)
    # The scale is that of the coefficients of the S step.
    assert_allclose(rho.sum(), (n - p) / 2, rtol=1e-6)
    u = (y - Z @ coef) / reg.scale_
    # The equations' derivatives in coefficients and log(scale), then a sandwich.
    bread = np.zeros((p + 1, p + 1))
    bread[:p, :p] = (Z.T * slope) @ Z / reg.scale_
    bread[:p, p] = Z.T @ (slope * u)
    bread[p, p] = rho_slope.sum()
    scores = np.column_stack([Z * value[:, np.newaxis], rho])
    meat = scores.T @ scores
    meat[p, p] -= n / 4
    inverse = np.linalg.inv(bread)
    robust = (inverse @ meat @ inverse.T)[:p, :p]
    average = slope.mean()
    factor = np.mean(value**2) / average**2 * kept.mean() * n / (n - p)
    factor *= (1 + p / n * slope.var() / average**2) ** 2
    plain = reg.scale_**2 * factor * np.linalg.inv((Z.T * kept) @ Z)
    return robust, plain


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [6, 80])
def test_covariances_of_the_equations(layout, d):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((15_000, d)) * (rng.random((15_000, d)) < 0.1)
    y = X @ rng.standard_normal(d) + 5 + rng.exponential(1 + np.abs(X[:, 0]))
    y[:1000] -= 50
    reg = fit(layout(X), y)
    for covariance, known in zip(COVARIANCES, by_hand(reg, X, y), strict=True):
        table = coefficient_table(reg, layout(X), y, covariance=covariance)
        scale = np.sqrt(known.diagonal())
        gap = (table.covariance - known) / np.outer(scale, scale)
        # The coefficients are those of the fit to some 1e-5 of a standard error.
        assert np.abs(gap).max() < 1e-4
        assert table.covariance_type == covariance


def test_few_rows_of_many_parameters():
    # The M step takes a larger scale than the S step.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((240, 70))
    y = X @ rng.standard_normal(70) + rng.standard_normal(240)
    reg = fit(X, y)
    assert_allclose(reg.scale_, reg._s_fit[2] * np.sqrt(240 / (240 - 71)))
    for covariance, known in zip(COVARIANCES, by_hand(reg, X, y), strict=True):
        table = coefficient_table(reg, X, y, covariance=covariance)
        assert_allclose(table.std_error, np.sqrt(known.diagonal()), rtol=1e-3)


@each_covariance
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_copies(layout, covariance):
    X, y = problem()
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    y[weight == 0] = 1e6
    reg = fit(layout(X), y, sample_weight=weight)
    table = coefficient_table(
        reg, layout(X), y, sample_weight=weight, covariance=covariance
    )
    X, y = np.repeat(X, weight, axis=0), np.repeat(y, weight)
    copies = coefficient_table(fit(X, y), X, y, covariance=covariance)
    # The units of the features, in which the steps are taken, see rows once.
    assert_same_table(table, copies, 1e-4)
    assert table.n_samples == weight.sum()


@each_covariance
def test_the_unit_of_fractional_weights_does_not_matter(covariance):
    X, y = problem()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    tables = [
        coefficient_table(
            fit(X, y, sample_weight=w), X, y, sample_weight=w, covariance=covariance
        )
        for w in (weight, 1000 * weight)
    ]
    assert_same_table(*tables)
    assert tables[0].n_samples == len(y)


@each_covariance
def test_units_of_the_data(covariance):
    X, y = problem()
    table = coefficient_table(fit(X, y), X, y, covariance=covariance)
    scaled = coefficient_table(fit(X, 1e6 * y), X, 1e6 * y, covariance=covariance)
    assert_same_table(scaled, table, 1e-5, scale=1e6)
    moved = coefficient_table(fit(X * 1e3 + 7, y), X * 1e3 + 7, y)
    if covariance == "robust":
        assert_allclose(1e3 * moved.std_error[1:], table.std_error[1:], rtol=1e-5)


@each_covariance
def test_float32(covariance):
    X, y = problem(5000)
    table = coefficient_table(fit(X, y), X, y, covariance=covariance)
    X, y = X.astype(np.float32), y.astype(np.float32)
    single = coefficient_table(fit(X, y), X, y, covariance=covariance)
    assert_allclose(single.std_error, table.std_error, rtol=1e-3)
    assert single.std_error.dtype == single.coef.dtype == np.float64


@each_covariance
def test_standard_errors_with_weights_that_are_no_copies(covariance):
    coef, std_error = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        X, weight = rng.normal(size=(500, 2)), rng.lognormal(0, 1, 500)
        y = X.sum(axis=1) + rng.normal(size=500)
        reg = fit(X, y, sample_weight=weight)
        table = coefficient_table(
            reg, X, y, sample_weight=weight, covariance=covariance
        )
        coef.append(table.coef)
        std_error.append(table.std_error)
    assert_allclose(np.median(std_error, axis=0), np.std(coef, axis=0), rtol=0.15)


def test_sums_of_parts_of_the_rows_add_up():
    X, y = problem()
    reg = fit(X, y)
    weight = np.ones(len(y))
    data = Data(X=X, y=y, weight=weight, given_weight=weight, units=reg._units)
    stage = ExactStage(reg._plan(), data, weight)
    *solution, scale = reg._s_fit
    s_fit = stage.from_user(*solution), scale / stage.y_scale
    m_fit = stage.from_user(reg.coef_, reg.intercept_[0]), reg.scale_ / stage.y_scale
    parts = [
        inference.Sums.of(stage.rows.take(rows, weight[rows]), m_fit, s_fit)
        for rows in np.split(np.arange(len(y)), [100])
    ]
    found = inference.Inference(parts[0] + parts[1], m_fit[1]).robust()
    transform = stage.directions_to_user
    assert_allclose(
        transform(transform(found).T),
        coefficient_table(reg, X, y).covariance,
        rtol=1e-8,
        atol=1e-12,
    )


coverage = load(TESTS.parent / "benchmarks" / "coverage.py")


@pytest.mark.parametrize("noise", coverage.NOISES)
def test_intervals_have_the_true_coefficients(noise):
    n_draws = 150
    found = coverage.coverage(noise, 200, n_draws, ["robust"])
    hits, _ = found["robust"]
    # Coefficients of one draw are nearly independent: .97 and .93 are four deviations.
    assert 0.92 < hits[:, 1:].mean() < 0.975
    assert 0.88 < hits[:, 0].mean() < 0.995


def test_homoscedastic_intervals_are_too_short_where_the_noise_depends_on_features():
    found = coverage.coverage("heteroscedastic", 200, 150)
    by_feature = {name: found[name][0][:, 1].mean() for name in COVARIANCES}
    assert by_feature["homoscedastic"] < 0.85 < 0.89 < by_feature["robust"]


def test_names_of_a_pipeline(diabetes):
    X, y = diabetes
    X = X.assign(sex=np.where(X["sex"] == 1, "a", "b"))
    encoder = make_column_transformer(
        (OneHotEncoder(drop="first", sparse_output=False), ["sex"]),
        (StandardScaler(), ["bmi", "bp"]),
    )
    model = make_pipeline(encoder, MedianSGDRegressor(random_state=0)).fit(X, y)
    table = coefficient_table(model, X, y)
    names = ["onehotencoder__sex_b", "standardscaler__bmi", "standardscaler__bp"]
    assert table.names.tolist() == ["intercept", *names]
    # The same model, of the features in their units.
    plain = X[["bmi", "bp"]].assign(sex=X["sex"] == "b")[["sex", "bmi", "bp"]]
    plain = plain.astype(float)
    other = coefficient_table(fit(plain, y), plain, y)
    assert_allclose(table.z[1:], other.z[1:], rtol=1e-5)
    assert_allclose(robust_r2(model, X, y), table.r2)
    framed = clone(model).set_output(transform="pandas").fit(X, y)
    assert coefficient_table(framed, X, y).names.tolist() == table.names.tolist()


def test_names_where_there_are_none():
    X, y = problem()
    names = ["intercept", "x0", "x1", "x2", "x3"]
    assert coefficient_table(fit(X, y), X, y).names.tolist() == names
    for steps in ([], [StandardScaler()], [FunctionTransformer(np.cbrt)]):
        model = make_pipeline(*steps, MedianSGDRegressor(random_state=0)).fit(X, y)
        assert coefficient_table(model, X, y).names.tolist() == names


def test_a_table_as_text_and_frame(diabetes):
    pandas = pytest.importorskip("pandas")
    X, y = diabetes
    X = X[["bmi", "bp"]].rename(columns={"bmi": "<b>"})
    table = coefficient_table(fit(X, y), X, y, covariance="homoscedastic")
    frame = table.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == ["intercept", "<b>", "bp"]
    assert frame.columns.tolist() == [
        *("coef", "std_error", "z", "p_value", "lower", "upper")
    ]
    assert_array_equal(frame["upper"], table.upper)
    text = str(table)
    assert repr(table) == text
    title, summary, empty, header, *lines = text.split("\n")
    assert title == "MM-estimate of 442 samples, homoscedastic standard errors"
    share = f"{table.outlier_share:.1%} outliers"
    assert f"scale {table.scale:.4g}, {share}, robust R^2" in summary
    assert empty == ""
    assert header.split("  ")[-2:] == ["lower 95%", "upper 95%"]
    # All lines of a column end at one place.
    assert len({len(line) for line in (header, *lines)}) == 1
    assert [line.split()[0] for line in lines] == table.names.tolist()
    # Standard errors have three digits, and coefficients as many decimals.
    assert_allclose(table.std_error, [23.1, 0.73, 0.24], rtol=0.5)
    assert lines[0].split()[1] == f"{table.coef[0]:.1f}"
    assert lines[1].split()[1:3] == [
        f"{table.coef[1]:.3f}",
        f"{table.std_error[1]:.3f}",
    ]
    assert "<0.001" in lines[1]
    html = table._repr_html_()
    assert '<th scope="row">&lt;b&gt;</th>' in html
    assert html.count("<tr>") == 4
    assert f"<td>{table.lower[2]:.3f}</td>" in html


def test_a_polars_frame(diabetes):
    polars = pytest.importorskip("polars")
    X, y = diabetes
    X = polars.DataFrame({name: X[name].to_numpy() for name in ("bmi", "bp")})
    frame = coefficient_table(fit(X, y), X, y).to_frame()
    assert isinstance(frame, polars.DataFrame)
    assert frame["name"].to_list() == ["intercept", "bmi", "bp"]


def test_a_table_does_not_change():
    X, y = problem()
    reg = fit(X, y, fit_intercept=False)
    table = coefficient_table(reg, X, y)
    coef = table.coef.copy()
    with pytest.raises(AttributeError):
        table.coef = coef
    with pytest.raises(ValueError, match="read-only"):
        table.coef[0] = 0
    reg.coef_[0] = 7  # the estimator's own
    assert_array_equal(table.coef, coef)
    loaded = pickle.loads(pickle.dumps(table))
    assert isinstance(loaded, CoefficientTable)
    assert str(loaded) == str(table)


def test_collinear_features_have_no_standard_error():
    X, y = problem()
    level = np.random.default_rng(0).integers(3, size=len(y))
    y = y + level
    constant = np.full(len(y), 2.0)
    wide = np.column_stack([X, np.eye(3)[level], np.zeros(len(y))])
    drop = np.column_stack([X, np.eye(3)[level][:, 1:]])
    known = coefficient_table(fit(drop, y), drop, y)
    for covariance in COVARIANCES:
        with pytest.warns(UserWarning, match=r"'intercept', 'x4', 'x5', 'x6', 'x7'"):
            table = coefficient_table(fit(wide, y), wide, y, covariance=covariance)
        known = coefficient_table(fit(drop, y), drop, y, covariance=covariance)
        assert_allclose(table.std_error[1:5], known.std_error[1:5], rtol=1e-4)
        for values in (table.std_error, table.z, table.p_value, table.lower):
            assert_array_equal(np.isnan(values), [1, 0, 0, 0, 0, 1, 1, 1, 1])
        assert table.rank == known.rank == 7
        assert "nan" in str(table)
    wide = np.column_stack([X, constant])
    with pytest.warns(UserWarning, match="'intercept', 'x4'"):
        table = coefficient_table(fit(wide, y), wide, y)
    assert np.isnan(table.std_error).sum() == 2


def test_a_level_of_one_row_warns():
    X, y = problem()
    X = np.column_stack([X, np.arange(len(y)) == 200])
    reg = fit(X, y)
    with pytest.warns(UserWarning, match="of 'x4' are less than a tenth"):
        coefficient_table(reg, X, y)
    table = coefficient_table(reg, X, y, covariance="homoscedastic")
    assert table.std_error[-1] > 0.5


def without_answer():
    """Fits that have no standard errors, and what the error says."""
    X, y = problem()
    many = np.random.default_rng(0).standard_normal((len(y), 200))
    mostly_zero = np.where(np.arange(len(y)) % 3, 0, y)
    yield "refine=True", {"refine": False}, X, y
    yield "refine=True", {"gradient_estimator": "mean"}, X, y
    yield "held out", {"early_stopping": True}, X, y
    yield "fewer features", {}, many, y
    yield "raise max_iter", {"max_iter": 2, "tol": None}, X, y
    yield "without an error", {}, X, mostly_zero
    yield r"penalty, .* by \d", {"alpha": 1.0}, X, y
    yield r"penalty, .* by \d", {"alpha": 0.1, "penalty": "l1"}, X, y


@pytest.mark.filterwarnings("ignore::UserWarning")
@each_covariance
@pytest.mark.parametrize(
    "message, params, X, y",
    [pytest.param(*case, id=f"{k}") for k, case in enumerate(without_answer())],
)
def test_fits_without_an_answer(message, params, X, y, covariance):
    reg = fit(X, y, **params)
    with pytest.raises(ValueError, match=message):
        coefficient_table(reg, X, y, covariance=covariance)


def test_a_negligible_penalty_has_an_answer():
    X, y = problem()
    reg, plain = fit(X, y, alpha=1e-8), fit(X, y)
    assert_same_table(
        coefficient_table(reg, X, y), coefficient_table(plain, X, y), 1e-4
    )


def test_other_rows_than_those_of_the_fit():
    X, y = problem()
    reg = fit(X, y)
    assert coefficient_table(reg, X[::-1], y[::-1]).n_samples == len(y)
    with pytest.raises(ValueError, match="must be those given to fit"):
        coefficient_table(reg, X[:250], y[:250])
    with pytest.raises(ValueError, match="must be those given to fit"):
        coefficient_table(reg, X, y, sample_weight=1 + (np.arange(len(y)) % 2))
    with pytest.raises(ValueError, match="X has 3 features"):
        coefficient_table(reg, X[:, :3], y)
    with pytest.raises(ValueError, match="more samples than parameters"):
        coefficient_table(reg, X[-5:], y[-5:])
    with pytest.raises(ValueError, match="must be those given to fit"):
        coefficient_table(reg, X[:30], y[:30])  # outliers only
    reg.coef_ = reg.coef_ + 1
    with pytest.raises(ValueError, match="must be those given to fit"):
        coefficient_table(reg, X, y)


def test_streams_have_no_answer():
    X, y = problem()
    for reg in (fit(X, y), MedianSGDRegressor(random_state=0)):
        reg.partial_fit(X, y)
        assert not hasattr(reg, "weights_")
        with pytest.raises(ValueError, match="Streams, and stochastic rounds"):
            coefficient_table(reg, X, y)
        reg.fit(X, y)
        assert_same_table(coefficient_table(reg, X, y), coefficient_table(reg, X, y))


def test_fits_on_dask_take_partitions():
    da = pytest.importorskip("dask.array")
    from medsgd.dask import DaskMedianSGDRegressor

    X, y = problem()
    data = da.from_array(X, chunks=(100, -1)), da.from_array(y, chunks=100)
    reg = DaskMedianSGDRegressor(random_state=0).fit(*data)
    expected = coefficient_table(fit(X, y), X, y)
    for table in (
        coefficient_table(reg, *data),
        coefficient_table(reg.to_local(), X, y),
    ):
        assert_allclose(table.covariance, expected.covariance, rtol=1e-6)
    with pytest.raises(TypeError, match="X must be a dask array"):
        coefficient_table(reg, X, y)
    reg.set_params(refine=False).fit(*data)
    with pytest.raises(ValueError, match="Fit with refine=True"):
        coefficient_table(reg, *data)


def test_estimators_without_a_table():
    X, y = problem()
    with pytest.raises(NotFittedError):
        coefficient_table(MedianSGDRegressor(), X, y)
    others = [
        HuberRegressor(),
        MedianSGDClassifier(random_state=0),
        TransformedTargetRegressor(MedianSGDRegressor(random_state=0)),
        make_pipeline(StandardScaler(), HuberRegressor()),
    ]
    for model in others:
        labels = y > 0 if isinstance(model, MedianSGDClassifier) else y
        with pytest.raises(ValueError, match="Only a MedianSGDRegressor"):
            coefficient_table(model.fit(X, labels), X, labels)


def test_invalid_parameters():
    X, y = problem()
    reg = fit(X, y)
    for params in ({"confidence": 1.0}, {"confidence": 0}, {"covariance": "w"}):
        with pytest.raises(ValueError, match=next(iter(params))):
            coefficient_table(reg, X, y, **params)


def test_a_pickle_has_the_table():
    X, y = problem()
    reg = fit(X, y)
    loaded = pickle.loads(pickle.dumps(reg))
    assert str(coefficient_table(loaded, X, y)) == str(coefficient_table(reg, X, y))
    assert_array_equal(loaded.weights_, reg.weights_)


def test_sparse_coefficients():
    X, y = problem()
    reg = fit(X, y)
    table = coefficient_table(reg, X, y)
    assert str(coefficient_table(reg.sparsify(), X, y)) == str(table)


def test_a_table_leaves_data_and_estimator_as_they_are():
    X, y = problem()
    reg = fit(X, y)
    before, X_before, y_before = pickle.dumps(reg), X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    coefficient_table(reg, X, y)
    assert pickle.dumps(reg) == before
    assert_array_equal(X, X_before)
    assert_array_equal(y, y_before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_of_rows(layout, dtype):
    X, y = problem()
    weight = np.ones(len(y))
    weight[::7] = 0
    reg = fit(layout(X.astype(dtype)), y.astype(dtype), sample_weight=weight)
    residual = y - X @ reg.coef_ - reg.intercept_
    ratio = np.minimum((residual / (M_CONSTANT * reg.scale_)) ** 2, 1)
    assert reg.weights_.dtype == np.float64
    assert_allclose(reg.weights_, (1 - ratio) ** 2, atol=1e-4)
    assert np.all(reg.weights_[:30] == 0)
    assert np.all((reg.weights_ >= 0) & (reg.weights_ <= 1))
    # A row of sample weight 0 has one as well.
    assert reg.weights_[28:][::7].mean() > 0.8


def test_weights_of_a_stochastic_refinement():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 40))
    y = X @ rng.standard_normal(40) + rng.standard_normal(60)
    reg = fit(X, y, tol=None, max_iter=50)
    ratio = np.minimum(((y - reg.predict(X)) / (M_CONSTANT * reg.scale_)) ** 2, 1)
    assert_allclose(reg.weights_, (1 - ratio) ** 2)
    assert reg.weights_.min() < 0.9


def test_weights_of_an_exact_fit():
    X, y = problem()
    with pytest.warns(UserWarning, match="without an error"):
        reg = fit(X, np.where(np.arange(len(y)) % 3, 0, y))
    assert_array_equal(reg.weights_, ~reg.outliers_)
    assert reg.weights_.sum() == 200
    assert robust_r2(reg, X, y) == 1


def test_weights_come_with_a_refinement():
    X, y = problem()
    for params in ({"refine": False}, {"gradient_estimator": "mean"}):
        reg = fit(X, y)
        assert hasattr(reg, "weights_")
        assert not hasattr(reg.set_params(**params).fit(X, y), "weights_")


def test_weights_of_a_classifier():
    X, labels = make_contaminated_classification(300, 3, random_state=0)
    weight = np.ones(300)
    weight[::7] = 0
    clf = MedianSGDClassifier(random_state=0).fit(X, labels, sample_weight=weight)
    assert clf.weights_.dtype == np.float64
    assert clf.weights_.shape == (300,)
    assert np.all((clf.weights_ >= 0) & (clf.weights_ <= 1))
    assert clf.weights_[::7].max() > 0.5
    assert not hasattr(clf.partial_fit(X, labels), "weights_")


def test_the_constant_of_robust_r2():
    def kept(u):
        return (1 - (u / M_CONSTANT) ** 2) ** 2

    expected = [
        quad(lambda u, power=power: u**power * kept(u) * stats.norm.pdf(u), *limits)[0]
        for power in (0, 2)
        for limits in [(-M_CONSTANT, M_CONSTANT)]
    ]
    assert_allclose(inference.CONSISTENCY, expected[0] / expected[1], rtol=1e-6)


def test_robust_r2_is_r2_where_the_noise_is_normal():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 3))
    y = X @ [1.0, 1.0, 1.0] + 2 * rng.standard_normal(20_000)
    reg = fit(X, y)
    assert_allclose(robust_r2(reg, X, y), reg.score(X, y), atol=0.01)
    outlying = y + 1000 * (rng.random(len(y)) < 0.1)
    assert_allclose(robust_r2(reg, X, outlying), reg.score(X, y), atol=0.01)
    assert reg.score(X, outlying) < 0


@pytest.mark.parametrize("unit, weight", [(1e200, 1.0), (1.0, 1e250)])
def test_robust_r2_has_no_unit(unit, weight):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X.sum(axis=1) + rng.normal(size=200)
    model, large = LinearRegression().fit(X, y), LinearRegression().fit(X, y)
    large.coef_, large.intercept_ = unit * model.coef_, unit * model.intercept_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        r2 = robust_r2(large, X, unit * y, sample_weight=np.full(200, weight))
    assert_allclose(r2, robust_r2(model, X, y))


def test_robust_r2_of_other_regressors():
    X, y = problem()
    weight = np.where(np.arange(len(y)) < 30, 0, 1)
    linear = LinearRegression().fit(X[30:], y[30:])
    assert robust_r2(linear, X, y) > 0.8 > 0.2 > linear.score(X, y)
    assert_allclose(
        robust_r2(linear, X, y, sample_weight=weight), robust_r2(linear, X[30:], y[30:])
    )
    exact = LinearRegression().fit(X, X[:, 0])
    assert robust_r2(exact, X, X[:, 0]) == 1
    scores = cross_val_score(MedianSGDRegressor(), X, y, scoring=robust_r2, cv=3)
    assert np.all(scores > 0.75)
    with pytest.raises(NotFittedError):
        robust_r2(MedianSGDRegressor(), X, y)
    with pytest.raises(ValueError, match="of a regressor"):
        robust_r2(MedianSGDClassifier(), X, y > 0)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        robust_r2(linear, X, y[:-1])


@pytest.mark.parametrize("covariance", ["robust", "homoscedastic"])
def test_nearly_collinear_features_have_standard_errors(covariance):
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 1000))
    X = np.column_stack([x, x + 1e-6 * rng.standard_normal(1000)])
    y = x + noise
    table = coefficient_table(
        MedianSGDRegressor(random_state=0).fit(X, y), X, y, covariance=covariance
    )
    # By the difference of the columns, which least squares has no trouble with.
    Z = np.column_stack([np.ones(1000), x, (X[:, 1] - x) * 1e6])
    plain = np.sqrt(np.linalg.inv(Z.T @ Z).diagonal())
    assert_allclose(table.std_error[2], 1e6 * plain[2], rtol=0.15)


def test_rounding_to_float32_is_no_other_solution():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 2)).astype(np.float32)
    y = 1e5 * (X @ [1, 2] + 3) + rng.standard_normal(3000)
    double = X.astype(float)
    table = coefficient_table(MedianSGDRegressor(random_state=0).fit(X, y), X, y)
    other = coefficient_table(
        MedianSGDRegressor(random_state=0).fit(double, y), double, y
    )
    assert_allclose(table.std_error, other.std_error, rtol=0.05)


@pytest.mark.parametrize("unit", [1e-309, 1e-200])
def test_variances_out_of_range_are_no_standard_errors(unit):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = unit * (X @ [1, 2] + rng.standard_normal(60))
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="out of the range of float64"):
            coefficient_table(est, X, y)
