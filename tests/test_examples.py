"""The gallery's claims, on what its scripts compute."""

from pathlib import Path

import numpy as np
from _examples import EXAMPLES, run_example


def test_every_script_has_a_test():
    tests = Path(__file__).parent
    tested = "".join(path.read_text() for path in tests.glob("test_*.py"))
    scripts = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    assert len(scripts) >= 20
    assert not {name for name in scripts if f'run_example("{name}")' not in tested}


def test_diabetes_outliers():
    results = run_example("diabetes_outliers.py")
    errors = dict(zip(results["models"](0), results["errors"], strict=True))
    clean, _, corrupted, _ = errors["MedianSGDRegressor"]
    assert corrupted < 1.1 * clean
    assert errors["SGDRegressor"][2] > 2 * corrupted


def test_quick_start():
    results = run_example("plot_quick_start.py")
    errors, n_wrong = results["errors"], results["is_wrong"].sum()
    assert n_wrong > 20
    assert results["n_found"] == n_wrong
    assert results["n_false"] < 0.02 * len(results["y_train"])
    assert errors["LinearRegression"] > 3 * errors["MedianSGDRegressor"]


def test_coefficient_intervals():
    results = run_example("plot_coefficient_intervals.py")
    X, significant = results["X"], results["significant"]
    for name in ("robust, clean", "robust, 10% wrong", "least squares, clean"):
        assert X.columns[significant[name]].tolist() == ["sex", "bmi", "bp", "s5"]
    assert not significant["least squares, 10% wrong"].any()
    assert results["clean_coef"][2] > 0 > results["coef"][2]  # bmi
    assert 8 < results["ratio"] < 10
    weights, is_wrong = results["robust"].weights_, results["is_wrong"]
    assert np.mean(weights[is_wrong] == 0) > 0.95
    assert np.mean(weights[~is_wrong] == 0) < 0.01


def test_outliers_in_y():
    results = run_example("outliers/plot_outliers_in_y.py")
    errors, shares = results["errors"], results["SHARES"]
    assert shares == (0, 0.1, 0.3, 0.4, 0.45)
    for kind in results["KINDS"]:
        squares = errors[kind, "LinearRegression"]
        huber = errors[kind, "HuberRegressor"]
        median = errors[kind, "median stage"]
        refined = errors[kind, "MedianSGDRegressor"]
        assert min(squares[1:]) > 5 * squares[0]
        assert huber[2] < 2 * huber[0]
        assert median[3] < 2 * median[0]
        assert max(refined) < (2.2 if kind == "wild" else 1.6) * refined[0]
        assert refined[0] < 1.1 * squares[0]
        if kind != "wild":
            assert huber[3] > 5 * huber[0]
            assert median[4] > 5 * median[0]
            assert min(results["found"][kind]) == 1
        assert min(results["found"][kind]) > 0.8
        assert 0.005 < results["flagged"][kind][0] < 0.02
        assert max(results["flagged"][kind][1:]) < results["flagged"][kind][0]


def test_leverage_points():
    results = run_example("outliers/plot_leverage_points.py")
    errors, good, slopes = (results[name] for name in ("errors", "good", "slopes"))
    assert results["SHARES"] == (0, 0.05, 0.2, 0.3, 0.4)
    slope = results["truth_of_picture"].coef[0]
    for name in ("LinearRegression", "HuberRegressor"):
        assert abs(slopes[name] - slope) > 1
        np.testing.assert_allclose(errors[name][1:], errors["LinearRegression"][1], 0.1)
        assert errors[name][1] > 5 * errors[name][0]
    for name in ("RANSACRegressor", "MedianSGDRegressor"):
        assert abs(slopes[name] - slope) < 0.2
    ransac, median = errors["RANSACRegressor"], errors["MedianSGDRegressor"]
    assert min(ransac[2:]) > 5 * median[2]
    assert ransac[0] > 3 * errors["LinearRegression"][0]
    assert max(median) < 1.5 * median[0]
    weighted, unweighted = errors["median stage"], errors["median stage, unweighted"]
    assert max(weighted) < 1.2 * weighted[0]
    assert min(unweighted[2:]) > 5 * unweighted[0]
    assert good["median stage"] > 1.3 * good["MedianSGDRegressor"]
    assert good["MedianSGDRegressor"] < 1.1 * good["LinearRegression"]
    assert good["RANSACRegressor"] > 3 * good["LinearRegression"]


def test_heavy_tails():
    results = run_example("outliers/plot_heavy_tails.py")
    robust = ("HuberRegressor", "QuantileRegressor", "MedianSGDRegressor")
    assert results["TAIL_INDICES"] == (1, 1.5, 2, 4)
    heaviest, *_, at_2, lightest = results["errors"]["normal features"]
    for row in (heaviest, at_2):
        values = [row[name] for name in robust]
        assert max(values) < 1.5 * min(values)
        assert row["LinearRegression"] > 1.9 * max(values)
    assert lightest["LinearRegression"] < 1.4 * lightest["MedianSGDRegressor"]
    assert lightest["QuantileRegressor"] == max(lightest.values())

    heaviest, *_, at_2, lightest = results["errors"]["features as heavy-tailed"]
    values = [heaviest[name] for name in robust]
    assert max(values) < 1.25 * min(values)
    assert heaviest["LinearRegression"] > 5 * max(values)
    for row in (at_2, lightest):
        assert max(row.values()) < 1.4 * min(row.values())


def test_label_noise():
    results = run_example("classification/plot_label_noise.py")
    scores, precision = results["scores"], results["precision"]
    assert results["SHARES"] == (0, 0.2, 0.4)
    labels, rows = (scores[kind] for kind in ("wrong labels", "wild rows"))
    for name in ("SGDClassifier", "LogisticRegression"):
        assert max(rows[name][1:]) < 0.25
        for other, median in zip(
            labels[name], labels["MedianSGDClassifier"], strict=True
        ):
            assert other < median
    assert labels["SGDClassifier"][1] < labels["MedianSGDClassifier"][1] - 0.05
    assert rows["MedianSGDClassifier"][1] > rows["MedianSGDClassifier"][0] - 0.03
    assert rows["MedianSGDClassifier"][2] > 0.85
    for name in ("LogisticRegression", "MedianSGDClassifier"):
        assert min(precision[name]) > 0.9
    assert results["is_wrong"][results["suspects"][:12]].all()


def test_imbalanced_classes():
    results = run_example("classification/plot_imbalanced_classes.py")
    scores = results["scores"]

    def score(contamination, class_weight, name, metric="balanced accuracy"):
        return scores[contamination, class_weight, name][metric]

    medians = ("coord-median", "spp-l1", "spp-l2")
    for contamination in ("clean", "5% wild rows"):
        for name in medians:
            assert score(contamination, None, name) > 0.74
            assert score(contamination, None, name, "precision") > 0.95
            assert score(contamination, "balanced", name) > 0.94
    for name in ("LogisticRegression", "SGDClassifier"):
        assert score("5% wild rows", None, name) < 0.55
        assert 0.6 < score("5% wild rows", "balanced", name) < 0.85
    for metric, sign in (("recall", -1), ("precision", 1)):
        for name in ("spp-l1", "spp-l2"):
            difference = score("clean", None, name, metric) - score(
                "clean", None, "LogisticRegression", metric
            )
            assert sign * difference > 0.03

    noisy = "5% wrong labels"
    for name in results["NAMES"]:
        recall = score(noisy, None, name, "recall")
        assert recall > 0.7 if name in medians else recall < 0.3
        assert score(noisy, "balanced", name, "precision") < 0.16


def test_streaming():
    results = run_example("large_data/plot_streaming.py")
    half = results["N_CHUNKS"] // 2
    errors = {name: np.mean(row[half:]) for name, row in results["errors"].items()}
    assert errors["SGDRegressor"] > 10 * errors["MedianSGDRegressor"]
    assert errors["MedianSGDRegressor"] < errors["SGDRegressor, huber"] < 0.15
    # Who did not follow would be as far off as the coefficients have moved.
    assert results["moved"] > 4 * errors["MedianSGDRegressor"]
    assert results["found"] > 0.99
    assert results["flagged"] < 0.02
    assert not results["path"].exists()


def test_grid_search():
    results = run_example("plot_grid_search.py")
    cv_errors, test_errors = results["cv_errors"], results["test_errors"]
    by_median, by_squares = results["SCORINGS"]
    assert np.all(cv_errors(by_median, True) < cv_errors(by_median, False))
    assert np.all(cv_errors(by_squares, True) > cv_errors(by_squares, False))
    worse = np.argmin(cv_errors(by_squares, False))
    best = np.argmin(cv_errors(by_median, True))
    assert results["search"].best_params_["mediansgdregressor__refine"]
    assert results["alpha"] == results["ALPHAS"][best]
    assert test_errors[False][worse] > 1.3 * test_errors[True][best]
    assert test_errors[True][best] < min(test_errors[False])
    # The candidates differ by less than the folds, except those of too much penalty.
    median = cv_errors(by_median, True)
    assert np.ptp(median[:3]) < results["spread"].min()
    assert np.all(median[3:] > median[:3].max() + results["spread"].min())

    by_loss = results["by_loss"]
    refined = [
        error
        for (refine, name, _), error in by_loss.items()
        if refine and name != "mean"
    ]
    assert len(refined) == 6
    assert max(refined) < 1.03 * min(refined)
    for name in results["ESTIMATORS"]:
        row = {loss: by_loss[False, name, loss] for loss in results["LOSSES"]}
        assert min(row, key=row.get) == "bisquare"
    for loss in results["LOSSES"]:
        assert by_loss[False, "mean", loss] == by_loss[True, "mean", loss]


def test_text_classification():
    results = run_example("classification/plot_text_classification.py")
    scores = results["scores"]
    assert results["X"].format == "csr"

    def lost(features, contamination, name):
        clean = scores[features, "clean", name]
        return 1 - scores[features, contamination, name] / clean

    assert 0.35 < lost("counts", "10% spam", "SGDClassifier") < 0.45
    assert 0.2 < lost("counts", "10% spam", "LogisticRegression") < 0.27
    assert lost("counts", "10% spam", "MedianSGDClassifier") < 0.02
    for name in results["MODELS"]:
        assert lost("TF-IDF", "10% spam", name) < 0.05
    for features in ("counts", "TF-IDF"):
        losses = {n: lost(features, "25% wrong labels", n) for n in results["MODELS"]}
        assert min(losses, key=losses.get) == "MedianSGDClassifier"


def test_robust_regressors():
    results = run_example("outliers/plot_robust_regressors.py")
    errors, names = results["errors"], list(results["STYLES"])

    def of_kind(kind):
        return {name: errors[kind, name] for name in names}

    for kind in ("no contamination", "Cauchy noise"):
        row = of_kind(kind)
        assert min(row, key=row.get) == "QuantileRegressor"
        assert abs(row["MedianSGDRegressor"] / row["HuberRegressor"] - 1) < 0.1
        assert 2 < row["RANSACRegressor"] / row["MedianSGDRegressor"] < 3
    one_sided = of_kind("30% on one side")
    assert one_sided["HuberRegressor"] > 0.8 * one_sided["LinearRegression"]
    assert 0.1 < one_sided["QuantileRegressor"] / one_sided["LinearRegression"] < 0.5
    leverage = of_kind("20% bad leverage")
    for name in ("HuberRegressor", "QuantileRegressor"):
        assert leverage[name] > 0.9 * leverage["LinearRegression"]
    for row in (one_sided, leverage):
        assert min(row, key=row.get) == "MedianSGDRegressor"
        assert row["RANSACRegressor"] < 2 * row["MedianSGDRegressor"]
    two_lines = of_kind("40% on another line")
    assert min(two_lines, key=two_lines.get) == "RANSACRegressor"
    assert 2.3 < two_lines["MedianSGDRegressor"] / two_lines["RANSACRegressor"] < 3
    for kind in results["KINDS"]:
        row = of_kind(kind)
        assert row["TheilSenRegressor"] > min(row.values())


def test_stock_beta():
    results = run_example("outliers/plot_stock_beta.py")
    betas, spreads, stocks = (results[name] for name in ("betas", "spreads", "STOCKS"))
    ours, squares = "MedianSGDRegressor", "LinearRegression"
    for stock in stocks:
        assert 0.8 < spreads[stock, ours] / spreads[stock, squares] < 1
        if stock != "AMZN":
            change = betas[stock, ours] - betas[stock, squares]
            assert abs(change) < 1.2 * spreads[stock, squares]
    smaller = [s for s in stocks if spreads[s, "HuberRegressor"] < spreads[s, ours]]
    assert len(smaller) == 4
    assert abs(betas["AMZN", ours] - 1.4) < 0.1
    assert abs(betas["AMZN", squares] - 1.7) < 0.1
    # Between 4 and 10% of the months.
    assert all(0.04 < results["unusual"][stock] / 390 < 0.1 for stock in stocks)


def test_cell_nuclei():
    results = run_example("outliers/plot_cell_nuclei.py")
    errors = results["errors"]
    ratio = errors["MedianSGDRegressor"] / errors["LinearRegression"]
    assert abs(ratio[0] - 0.8) < 0.02
    assert abs(ratio[1] - 7 / 8) < 0.02
    assert ratio[2] > 1
    in_scales = np.sort(results["in_scales"])
    assert in_scales[-1] > 28
    assert in_scales[-2] > 20
    assert in_scales[-3] < 12
    assert 0.25 < results["share_of_two"] < 0.35


def test_stream_dashboard():
    results = run_example("large_data/plot_stream_dashboard.py")
    told, true = (
        np.array(results["gauges"][name]) for name in ("share of outliers", "wrong")
    )
    error = np.array(results["errors"]["MedianSGDRegressor"])
    for first, last in results["quiet"].values():
        assert np.max(np.abs(told - true)[first - 1 : last - 1]) < 0.02
    # The median size of the noise is 0.67.
    for part in ("before", "switched on", "after"):
        first, last = results["quiet"][part]
        assert 0.67 < np.mean(error[first - 1 : last - 1]) < 0.85
