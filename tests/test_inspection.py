"""Displays draw what estimators have learned, and keep scikit-learn's conventions."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import HuberRegressor, LinearRegression
from sklearn.metrics import PredictionErrorDisplay
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medsgd import (
    CoefficientsDisplay,
    FitCurveDisplay,
    MedianSGDClassifier,
    MedianSGDRegressor,
    ResidualsDisplay,
)
from medsgd.datasets import (
    make_contaminated_classification,
    make_contaminated_regression,
)
from medsgd.inspection import coefficient_table

plt = pytest.importorskip("matplotlib.pyplot")
colors = pytest.importorskip("matplotlib.colors")


@pytest.fixture(scope="module")
def data():
    return make_contaminated_regression(300, 3, contamination=0.2, random_state=0)


@pytest.fixture(scope="module")
def reg(data):
    return MedianSGDRegressor(random_state=0).fit(*data)


@pytest.fixture(scope="module")
def clf():
    X, y = make_contaminated_classification(300, 3, n_classes=3, random_state=0)
    return MedianSGDClassifier(random_state=0).fit(X, np.array(["a", "b", "c"])[y])


def assert_drawn(lines, curve):
    """Lines of shape (n_stages, n_curves) are the columns of a curve, from epoch 1."""
    for k, column in enumerate(np.reshape(curve, (len(curve), -1)).T):
        assert_array_equal(
            np.concatenate([li.get_ydata() for li in lines[:, k]]), column
        )
        epochs = np.concatenate([li.get_xdata() for li in lines[:, k]])
        assert_array_equal(epochs, np.arange(1, len(curve) + 1))


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_stage_starts_split_the_curves():
    X, y = make_contaminated_regression(300, 3, random_state=0)
    reg = MedianSGDRegressor(random_state=0).fit(X, y)
    median_stage, s_step, m_step = np.split(reg.loss_curve_, reg.stage_starts_)
    plain = MedianSGDRegressor(
        random_state=0, max_iter=len(median_stage), tol=None, refine=False
    ).fit(X, y)
    assert_array_equal(median_stage, plain.loss_curve_)
    assert plain.stage_starts_.shape == (0,)
    # The S step lowers the scale; the M step lowers its loss at the scale found.
    assert s_step[-1] == reg.scale_
    assert np.all(np.diff(s_step) <= 1e-12 * s_step[0])
    assert np.all(np.diff(m_step) <= 1e-12 * m_step[0])
    reg.partial_fit(X, y)
    assert reg.stage_starts_.shape == (0,)
    assert len(reg.loss_curve_) == 1


def test_curves_of_both_stages(reg):
    display = FitCurveDisplay.from_estimator(reg)
    assert len(reg.stage_starts_) == 2
    assert display.loss_lines_.shape == display.clip_lines_.shape == (3, 1)
    assert_drawn(display.loss_lines_, reg.loss_curve_)
    assert_drawn(display.clip_lines_, reg.clip_fraction_curve_)
    lengths = [len(line.get_xdata()) for line in display.loss_lines_[:, 0]]
    assert_array_equal(np.cumsum(lengths)[:-1], reg.stage_starts_)
    # Between epochs, in each of the axes.
    x = [line.get_xdata()[0] for line in display.stage_lines_]
    assert_array_equal(x, np.tile(reg.stage_starts_ + 0.5, 2))
    assert [line.axes for line in display.stage_lines_[::2]] == [
        display.ax_,
        display.clip_ax_,
    ]
    assert legend(display.ax_) == ["median stage", "S step", "M step"]
    assert display.figure_ is display.ax_.figure
    assert display.bounding_ax_ is None
    assert display.clip_ax_.get_xlabel() == "Epoch"
    assert display.ax_.get_xlim() == display.clip_ax_.get_xlim()


@pytest.mark.parametrize("params", [{"gradient_estimator": "mean"}, {"refine": False}])
def test_curve_of_one_stage(params, data):
    reg = MedianSGDRegressor(random_state=0, **params).fit(*data)
    display = FitCurveDisplay.from_estimator(reg)
    assert_drawn(display.loss_lines_, reg.loss_curve_)
    assert display.loss_lines_.shape == (1, 1)
    assert display.stage_lines_ == []
    assert display.ax_.get_legend() is None


def test_stages_have_names():
    curve, starts = np.arange(6.0, 0.0, -1.0), [2, 4]

    def draw(**params):
        display = FitCurveDisplay(loss_curve=curve, stage_starts=starts, **params)
        display.plot()
        colors = [line.get_color() for line in display.loss_lines_[:, 0]]
        return legend(display.ax_), len(set(colors))

    assert draw() == (["median stage", "refinement"], 2)
    names = ["a", "b", "c", "not reached"]
    assert draw(stage_names=names) == (names[:3], 3)
    assert draw(stage_names=("a", "b", "a")) == (["a", "b"], 2)


def test_a_refinement_that_max_iter_ends(data):
    reg = MedianSGDRegressor(max_iter=2, tol=None, random_state=0).fit(*data)
    display = FitCurveDisplay.from_estimator(reg)
    assert legend(display.ax_) == ["median stage", "S step"]


def test_curves_without_clipping(data):
    reg = MedianSGDRegressor(gradient_estimator="coord-median", random_state=0)
    _, ax = plt.subplots()
    display = FitCurveDisplay.from_estimator(reg.fit(*data), ax=ax)
    assert_drawn(display.loss_lines_, reg.loss_curve_)
    assert display.ax_ is ax
    assert display.clip_ax_ is display.clip_lines_ is display.bounding_ax_ is None
    assert ax.get_xlabel() == "Epoch"
    assert len(display.stage_lines_) == len(reg.stage_starts_)


def test_curves_of_several_classes(clf):
    display = FitCurveDisplay.from_estimator(clf)
    assert clf.loss_curve_.shape[1] == 3
    assert_drawn(display.loss_lines_, clf.loss_curve_)
    assert_drawn(display.clip_lines_, clf.clip_fraction_curve_)
    assert legend(display.ax_) == ["a", "b", "c"]
    for k in range(3):
        color = display.loss_lines_[0, k].get_color()
        assert display.clip_lines_[0, k].get_color() == color
    assert len({line.get_color() for line in display.loss_lines_.flat}) == 3


def test_lines_of_many_classes_can_be_told_apart():
    display = FitCurveDisplay(loss_curve=np.ones((2, 20))).plot()
    styles = {(li.get_color(), li.get_linestyle()) for li in display.loss_lines_.flat}
    assert len(styles) == 20
    assert legend(display.ax_) == [str(k) for k in range(20)]
    assert FitCurveDisplay(loss_curve=np.ones((2, 21))).plot().ax_.get_legend() is None


def test_curve_of_two_classes(clf):
    X, y = make_contaminated_classification(100, 3, random_state=0)
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    display = FitCurveDisplay.from_estimator(clf)
    assert_drawn(display.loss_lines_, clf.loss_curve_)


def test_curves_of_the_last_step_of_a_pipeline(data):
    pipe = make_pipeline(StandardScaler(), MedianSGDRegressor(random_state=0))
    pipe.fit(*data)
    display = FitCurveDisplay.from_estimator(pipe)
    assert_drawn(display.loss_lines_, pipe[-1].loss_curve_)


def test_axis_is_logarithmic_where_it_helps():
    def scale(curve):
        return FitCurveDisplay(loss_curve=curve).plot().ax_.get_yscale()

    assert scale([100.0, 1.0, 0.1]) == "log"
    assert scale([2.0, 1.0]) == scale([100.0, 1.0, 0.0]) == "linear"
    assert scale([100.0, -1.0]) == "linear"


def test_given_axes_are_divided_once(reg):
    figure, axes = plt.subplots(1, 2)
    axes[0].set_title("kept")
    display = FitCurveDisplay.from_estimator(reg, ax=axes[0])
    assert display.bounding_ax_ is axes[0]
    assert display.figure_ is figure
    assert axes[0].get_title() == "kept"
    assert set(axes[0].child_axes) == {display.ax_, display.clip_ax_}
    for ax in (display.ax_, display.clip_ax_):
        box, room = ax.get_window_extent(), axes[0].get_window_extent()
        assert np.all(box.min >= room.min - 1)
        assert np.all(box.max <= room.max + 1)
    with pytest.raises(ValueError, match=r"set ax=\[display.ax_, display.clip_ax_\]"):
        display.plot(ax=axes[0])
    ax_, clip_ax = display.ax_, display.clip_ax_
    again = FitCurveDisplay.from_estimator(reg, ax=[ax_, clip_ax])
    assert (again.ax_, again.clip_ax_) == (ax_, clip_ax)
    assert len(ax_.get_lines()) == 2 * (3 + 2)


def test_two_given_axes(reg):
    _, axes = plt.subplots(2, 1)
    display = FitCurveDisplay.from_estimator(reg, ax=axes)
    assert [display.ax_, display.clip_ax_] == list(axes)
    assert display.bounding_ax_ is None
    _, axes = plt.subplots(3, 1)
    with pytest.raises(ValueError, match="Expected ax to have 2 axes, got 3"):
        display.plot(ax=axes)


def test_keywords_of_curves(reg):
    display = FitCurveDisplay.from_estimator(
        reg, line_kwargs={"lw": 5, "c": "k"}, stage_kwargs={"ls": "-", "alpha": 0.3}
    )
    for line in [*display.loss_lines_.flat, *display.clip_lines_.flat]:
        assert line.get_linewidth() == 5
        assert line.get_color() == "k"
    assert {line.get_alpha() for line in display.stage_lines_} == {0.3}
    with pytest.raises(TypeError, match="aliases"):
        display.plot(line_kwargs={"c": "k", "color": "k"})


@pytest.mark.parametrize(
    "params, message",
    [
        ({"loss_curve": []}, "loss_curve must have the shape"),
        ({"loss_curve": np.ones((2, 2, 2))}, "loss_curve must have the shape"),
        (
            {"loss_curve": [1.0, 2.0], "clip_fraction_curve": [0.0]},
            "must have the shape of loss_curve",
        ),
        ({"loss_curve": [1.0, 2.0], "stage_starts": [2]}, "stage_starts must increase"),
        ({"loss_curve": [1.0, 2.0], "stage_starts": [0]}, "stage_starts must increase"),
        ({"loss_curve": [1.0, 2.0], "stage_starts": 1}, "stage_starts must increase"),
        ({"loss_curve": np.ones((2, 2)), "classes": ["a"]}, "classes must name the 2"),
        (
            {"loss_curve": [1.0, 2.0], "stage_starts": [1], "stage_names": ["a"]},
            "stage_names must name the 2",
        ),
        (
            {"loss_curve": [1.0, 2.0], "stage_starts": [1], "stage_names": "ab"},
            "stage_names must name the 2",
        ),
    ],
)
def test_curves_that_do_not_fit_each_other(params, message):
    with pytest.raises(ValueError, match=message):
        FitCurveDisplay(**params).plot()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_curve_of_a_stream_is_for_the_user_to_collect(estimator_class):
    X, y = make_contaminated_classification(100, 3, random_state=0)
    kwargs = {"classes": [0, 1]} if estimator_class is MedianSGDClassifier else {}
    est = estimator_class(random_state=0).partial_fit(X, y, **kwargs)
    with pytest.raises(ValueError, match="Call fit with more epochs, or collect"):
        FitCurveDisplay.from_estimator(est)
    curve = [*est.loss_curve_, *est.partial_fit(X, y).loss_curve_]
    display = FitCurveDisplay(loss_curve=curve).plot()
    assert_array_equal(display.loss_lines_[0, 0].get_ydata(), curve)
    # A call of partial_fit after fit is a single epoch as well.
    with pytest.raises(ValueError, match="single epoch"):
        FitCurveDisplay.from_estimator(est.fit(X, y).partial_fit(X, y))


def test_estimators_without_curves(data):
    with pytest.raises(NotFittedError):
        FitCurveDisplay.from_estimator(MedianSGDRegressor())
    search = GridSearchCV(
        MedianSGDRegressor(random_state=0, max_iter=20, tol=None), {"alpha": [0.1]}
    )
    with pytest.raises(ValueError, match="the best_estimator_ of a search"):
        FitCurveDisplay.from_estimator(search.fit(*data))
    with pytest.raises(ValueError, match="LinearRegression has no loss_curve_"):
        FitCurveDisplay.from_estimator(LinearRegression().fit(*data))


def test_curve_of_another_estimator(data):
    mlp = MLPRegressor(max_iter=500, tol=1, random_state=0).fit(*data)
    display = FitCurveDisplay.from_estimator(mlp)
    assert_drawn(display.loss_lines_, mlp.loss_curve_)


def check_residuals(display, y_true, y_pred, scale, kind="residual_vs_predicted"):
    """All that is drawn, from the definitions."""
    y_true, residual = np.asarray(y_true), np.asarray(y_true) - y_pred
    outliers = np.abs(residual) > 2.5 * scale
    assert_array_equal(display.outliers_, outliers)
    height = residual if kind == "residual_vs_predicted" else y_true
    for scatter, rows in (
        (display.scatter_, ~outliers),
        (display.outlier_scatter_, outliers),
    ):
        points = np.column_stack([y_pred[rows], height[rows]])
        assert_allclose(scatter.get_offsets(), points, rtol=1e-12, atol=1e-12)
    ends = np.array([y_pred.min(), y_pred.max()])
    exact = np.zeros(2) if kind == "residual_vs_predicted" else ends
    assert_allclose(display.line_.get_xydata(), np.column_stack([ends, exact]))
    corners = display.band_.get_paths()[0].vertices
    for x, middle in zip(ends, exact, strict=True):
        sides = corners[np.isclose(corners[:, 0], x), 1]
        assert_allclose(sides.min(), middle - 2.5 * scale, atol=1e-12)
        assert_allclose(sides.max(), middle + 2.5 * scale, atol=1e-12)


@pytest.mark.parametrize("kind", ["residual_vs_predicted", "actual_vs_predicted"])
@pytest.mark.parametrize("make_X", [np.asarray, sp.csr_array, pd.DataFrame])
def test_residuals_of_the_training_data(make_X, kind, data):
    X, y = make_X(data[0]), pd.Series(data[1], index=range(len(data[1]), 0, -1))
    reg = MedianSGDRegressor(random_state=0).fit(X, y)
    display = ResidualsDisplay.from_estimator(reg, X, y, kind=kind)
    assert_array_equal(display.outliers_, reg.outliers_)
    assert display.scale == reg.scale_
    check_residuals(display, y, reg.predict(X), reg.scale_, kind)
    assert display.ax_.get_xlabel() == "Predicted values"
    assert display.ax_.get_ylabel().startswith(kind.split("_")[0].capitalize())
    assert display.figure_ is display.ax_.figure
    n = reg.outliers_.sum()
    assert legend(display.ax_) == [
        "within 2.5 scales",
        f"inliers ({300 - n})",
        f"outliers ({n})",
    ]


def test_new_data_are_judged_by_the_scale_of_the_training_data(reg):
    X, y = make_contaminated_regression(50, 3, noise=100.0, random_state=1)
    display = ResidualsDisplay.from_estimator(reg, X, y)
    check_residuals(display, y, reg.predict(X), reg.scale_)
    assert display.outliers_.mean() > 0.8
    display = ResidualsDisplay.from_estimator(reg, X, y, scale=1e6)
    assert not display.outliers_.any()


def test_residuals_of_a_stream(data):
    X, y = data
    reg = MedianSGDRegressor(random_state=0).partial_fit(X, y)
    display = ResidualsDisplay.from_estimator(reg, X, y)
    check_residuals(display, y, reg.predict(X), reg.scale_)


def test_residuals_of_a_pipeline(data):
    X, y = data
    pipe = make_pipeline(StandardScaler(), MedianSGDRegressor(random_state=0)).fit(X, y)
    display = ResidualsDisplay.from_estimator(pipe, X, y)
    assert_array_equal(display.outliers_, pipe[-1].outliers_)


@pytest.mark.parametrize("est", [LinearRegression(), HuberRegressor()])
def test_residuals_of_other_regressors_have_their_own_scale(est, data):
    # That of HuberRegressor's scale_ is not what the display means.
    X, y = data
    y_pred = est.fit(X, y).predict(X)
    scale = np.median(np.abs(y - y_pred)) / 0.6744897501960817
    check_residuals(ResidualsDisplay.from_estimator(est, X, y), y, y_pred, scale)
    check_residuals(ResidualsDisplay.from_predictions(y, y_pred), y, y_pred, scale)


def test_scale_of_zero_leaves_only_exact_predictions():
    display = ResidualsDisplay.from_predictions([1, 2, 3, 4], [1, 2, 3, 5])
    assert display.scale == 0
    assert_array_equal(display.outliers_, [False, False, False, True])


@pytest.mark.parametrize(
    "subsample, n", [(None, 300), (1000, 300), (50, 50), (0.1, 30), (1e-9, 1)]
)
def test_subsample(subsample, n, reg, data):
    X, y = data

    def draw(seed):
        return ResidualsDisplay.from_predictions(
            y, reg.predict(X), subsample=subsample, random_state=seed
        )

    display = draw(0)
    assert len(display.y_true) == n
    # Of all residuals, whatever is drawn.
    assert display.scale == draw(1).scale
    # A sample is drawn once.
    assert len(np.unique(display.y_pred)) == n
    assert_array_equal(display.y_true, draw(0).y_true)
    rows = np.isin(reg.predict(X), display.y_pred)
    assert_array_equal(y[rows], display.y_true)


def test_more_than_a_thousand_samples_are_not_drawn():
    y = np.arange(1500.0)
    display = ResidualsDisplay.from_predictions(y, y, random_state=0)
    assert len(display.y_true) == 1000


def test_keywords_of_residuals(reg, data):
    _, ax = plt.subplots()
    display = ResidualsDisplay.from_estimator(
        reg,
        *data,
        ax=ax,
        scatter_kwargs={"c": "green", "s": 7},
        outlier_kwargs={"marker": "o", "alpha": 0.1},
        line_kwargs={"lw": 3},
        band_kwargs={"color": "yellow", "label": "near"},
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert_array_equal(display.scatter_.get_sizes(), [7])
    assert_array_equal(display.outlier_scatter_.get_sizes(), [7])
    green, red, yellow = (
        colors.to_rgb(name) for name in ("green", "tab:red", "yellow")
    )
    assert_allclose(display.scatter_.get_facecolor()[0, :3], green)
    assert_allclose(display.outlier_scatter_.get_facecolor()[0, :3], red)
    assert display.outlier_scatter_.get_alpha() == 0.1
    assert display.line_.get_linewidth() == 3
    assert_allclose(display.band_.get_facecolor()[0, :3], yellow)
    assert legend(ax)[0] == "near"
    # What was given is not changed.
    given = {"c": "green"}
    display.plot(scatter_kwargs=given)
    assert given == {"c": "green"}


def test_errors_of_residuals(reg, clf, data):
    X, y = data
    with pytest.raises(ValueError, match=r"only supports regressors; .*ConfusionM"):
        ResidualsDisplay.from_estimator(clf, X, y)
    with pytest.raises(NotFittedError):
        ResidualsDisplay.from_estimator(MedianSGDRegressor(), X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ResidualsDisplay.from_estimator(reg, X, y[1:])
    with pytest.raises(ValueError, match="`kind` must be one of actual_vs_predicted"):
        ResidualsDisplay.from_estimator(reg, X, y, kind="residuals")
    with pytest.raises(ValueError, match="y_true contains NaN"):
        ResidualsDisplay.from_predictions([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="should be a 1d array"):
        ResidualsDisplay.from_predictions(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="at least one sample"):
        ResidualsDisplay.from_predictions([], [])
    for scale in (-1.0, np.nan, np.inf, "auto", [1.0]):
        with pytest.raises(ValueError, match="scale must be a finite number >= 0"):
            ResidualsDisplay(y_true=y, y_pred=y, scale=scale).plot()
    for subsample in (0, -1, 1.0, 0.0, 1.5):
        with pytest.raises(ValueError, match=f"subsample={subsample} should be"):
            ResidualsDisplay.from_predictions(y, y, subsample=subsample)
    assert plt.get_fignums() == []


def check_coefficients(display, names, values, lower, upper):
    """All that is drawn, the largest at the top."""
    points, _, (bars,) = display.errorbar_
    order = np.argsort(values)
    assert_array_equal(display.order_, order)
    assert_allclose(points.get_xdata(), np.asarray(values)[order])
    assert_array_equal(points.get_ydata(), np.arange(len(values)))
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert_allclose(ends, np.column_stack([lower, upper])[order])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [names[k] for k in order]
    assert_array_equal(display.line_.get_xdata(), [0, 0])


@pytest.mark.parametrize("kind", ["coef", "z"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_coefficients_of_a_fit(kind, fit_intercept, data):
    X, y = pd.DataFrame(data[0], columns=["a", "b", "c"]), data[1]
    reg = MedianSGDRegressor(random_state=0, fit_intercept=fit_intercept).fit(X, y)
    params = {"confidence": 0.9, "covariance": "homoscedastic"}
    display = CoefficientsDisplay.from_estimator(reg, X, y, kind=kind, **params)
    table = coefficient_table(reg, X, y, **params)
    features = slice(int(fit_intercept), None)
    unit = table.std_error[features] if kind == "z" else 1
    columns = (
        getattr(table, name)[features] / unit for name in ("coef", "lower", "upper")
    )
    check_coefficients(display, ["a", "b", "c"], *columns)
    label = display.ax_.get_xlabel()
    assert label.endswith(", with 90% confidence interval")
    assert ("standard error" in label) == (kind == "z")
    assert display.figure_ is display.ax_.figure


def test_coefficients_of_a_weighted_pipeline(data):
    X, y = data
    weight = np.arange(len(y)) % 3
    pipe = make_pipeline(StandardScaler(), MedianSGDRegressor(random_state=0))
    pipe.fit(X, y, mediansgdregressor__sample_weight=weight)
    display = CoefficientsDisplay.from_estimator(pipe, X, y, sample_weight=weight)
    check_coefficients(
        display, ["x0", "x1", "x2"], display.coef, display.lower, display.upper
    )
    assert_array_equal(display.coef, pipe[-1].coef_)


GIVEN = {
    "names": ["a", "b", "c"],
    "coef": np.array([1.0, -5.0, 3.0]),
    "std_error": np.array([0.1, 5.0, 1.0]),
    "lower": np.array([0.8, -15.0, 1.0]),
    "upper": np.array([1.2, 5.0, 5.0]),
}


def test_the_most_significant_coefficients():
    display = CoefficientsDisplay(**GIVEN).plot(max_features=2)
    assert_array_equal(display.order_, [0, 2])
    assert display.ax_.get_xlabel() == "Coefficient"
    display.plot(max_features=10)
    check_coefficients(
        display, GIVEN["names"], *(GIVEN[name] for name in ("coef", "lower", "upper"))
    )


def test_coefficients_without_a_standard_error_have_no_interval():
    given = {name: np.copy(values) for name, values in GIVEN.items()}
    for name in ("std_error", "lower", "upper"):
        given[name][2] = np.nan
    display = CoefficientsDisplay(**given).plot()
    assert_allclose(display.errorbar_[0].get_xdata(), [-5, 1, 3])
    display.plot(max_features=2)
    assert_array_equal(display.order_, [1, 0])


def test_keywords_of_coefficients():
    _, ax = plt.subplots()
    display = CoefficientsDisplay(**GIVEN).plot(
        ax=ax, errorbar_kwargs={"c": "green", "fmt": "s"}, line_kwargs={"lw": 3}
    )
    assert display.ax_ is ax
    assert display.errorbar_[0].get_marker() == "s"
    assert colors.to_rgb(display.errorbar_[0].get_color()) == colors.to_rgb("green")
    assert display.line_.get_linewidth() == 3


def test_errors_of_coefficients(reg, clf, data):
    X, y = data
    with pytest.raises(ValueError, match="Only a MedianSGDRegressor"):
        CoefficientsDisplay.from_estimator(clf, X, y)
    with pytest.raises(NotFittedError):
        CoefficientsDisplay.from_estimator(MedianSGDRegressor(), X, y)
    with pytest.raises(ValueError, match="`kind` must be one of coef, z"):
        CoefficientsDisplay.from_estimator(reg, X, y, kind="t")
    with pytest.raises(ValueError, match="max_features=0 should be positive"):
        CoefficientsDisplay(**GIVEN).plot(max_features=0)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        CoefficientsDisplay(**GIVEN | {"lower": [0.0]}).plot()
    with pytest.raises(ValueError, match="at least one coefficient"):
        CoefficientsDisplay(**{name: [] for name in GIVEN}).plot()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("drawn", [False, True])
def test_displays_are_pickled_and_drawn_again(drawn, reg, data):
    curves = FitCurveDisplay(
        loss_curve=reg.loss_curve_,
        clip_fraction_curve=reg.clip_fraction_curve_,
        stage_starts=reg.stage_starts_,
    )
    residuals = ResidualsDisplay(
        y_true=data[1], y_pred=reg.predict(data[0]), scale=reg.scale_
    )
    coefficients = CoefficientsDisplay(**GIVEN)
    if drawn:
        assert curves.plot() is curves
        assert residuals.plot() is residuals
        assert coefficients.plot() is coefficients
    curves, residuals, coefficients = (
        pickle.loads(pickle.dumps(d)) for d in (curves, residuals, coefficients)
    )
    assert coefficients.plot() is coefficients
    _, axes = plt.subplots(3, 1)
    assert curves.plot(ax=axes[:2]) is curves
    assert residuals.plot(ax=axes[2]) is residuals
    assert curves.figure_ is residuals.figure_ is axes[0].figure
    assert_drawn(curves.loss_lines_, reg.loss_curve_)
    assert_drawn(curves.clip_lines_, reg.clip_fraction_curve_)
    check_residuals(residuals, data[1], reg.predict(data[0]), reg.scale_)


@pytest.mark.parametrize(
    "draw",
    [
        lambda reg, X, y: CoefficientsDisplay.from_estimator(reg, X, y),
        lambda reg, X, y: CoefficientsDisplay(**GIVEN).plot(),
        lambda reg, X, y: FitCurveDisplay.from_estimator(reg),
        lambda reg, X, y: FitCurveDisplay(loss_curve=[2.0, 1.0]).plot(),
        lambda reg, X, y: ResidualsDisplay.from_estimator(reg, X, y),
        lambda reg, X, y: ResidualsDisplay.from_predictions(y, y),
        lambda reg, X, y: ResidualsDisplay(y_true=y, y_pred=y, scale=1.0).plot(),
    ],
)
def test_without_matplotlib(draw, reg, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="requires matplotlib"):
        draw(reg, *data)


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, medsgd.inspection; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parameters_are_those_of_the_display_of_scikit_learn_and_more():
    for name in ("plot", "from_estimator", "from_predictions"):
        ours = inspect.signature(getattr(ResidualsDisplay, name)).parameters
        theirs = inspect.signature(getattr(PredictionErrorDisplay, name)).parameters
        for parameter in theirs.values():
            assert ours[parameter.name].kind == parameter.kind
            assert ours[parameter.name].default == parameter.default
        added = {"outlier_kwargs", "band_kwargs"}
        if name != "plot":
            added |= {"scale"}
        assert set(ours) - set(theirs) == added
