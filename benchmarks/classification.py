"""Accuracy and probabilities of linear classifiers under contamination.

Run as ``python benchmarks/classification.py``; the tables are markdown. Training data
alone is contaminated. Means over 5 splits, on one thread. The last table is of the
wrong labels found, beside cleanlab, if that is installed.
"""

import sys
import time
import warnings

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
)
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from medsgd import MedianSGDClassifier

N_SPLITS = 5


def ours(**params):
    return MedianSGDClassifier(random_state=0, **params)


def calibrated(method):
    return lambda: CalibratedClassifierCV(ours(), method=method)


CLASSIFIERS = {
    "SGDClassifier(log_loss)": lambda: make_pipeline(
        StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)
    ),
    "LogisticRegression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000)
    ),
    "MedianSGDClassifier": ours,
    "MedianSGDClassifier, refine=False": lambda: ours(refine=False),
    "MedianSGDClassifier, sigmoid": calibrated("sigmoid"),
    "MedianSGDClassifier, isotonic": calibrated("isotonic"),
    "MedianSGDClassifier, temperature": calibrated("temperature"),
}


def wrong_labels(rng, X, y):
    """Give a fifth of the rows random labels."""
    rows = rng.choice(len(y), len(y) // 5, replace=False)
    y[rows] = rng.choice(np.unique(y), len(rows))


def many_wrong_labels(rng, X, y):
    """Give two fifths of the rows random labels."""
    rows = rng.choice(len(y), 2 * len(y) // 5, replace=False)
    y[rows] = rng.choice(np.unique(y), len(rows))


def wild_rows(rng, X, y):
    """Multiply a tenth of the rows by 30 and give them random labels."""
    rows = rng.choice(len(y), len(y) // 10, replace=False)
    X[rows] *= 30
    y[rows] = rng.choice(np.unique(y), len(rows))


def digits(seed):
    return load_digits(return_X_y=True)


def breast_cancer(seed):
    return load_breast_cancer(return_X_y=True)


def imbalanced(seed):
    """Data with 4% positives."""
    return make_classification(
        2500, 20, n_informative=5, weights=[0.96], flip_y=0.01, random_state=seed
    )


# The data by seed, what contaminates its training part, and the measure of accuracy.
PROBLEMS = {
    "digits, clean": (digits, None, accuracy_score),
    "digits, 20% random labels": (digits, wrong_labels, accuracy_score),
    "digits, 40% random labels": (digits, many_wrong_labels, accuracy_score),
    "digits, 10% rows x30 with random labels": (digits, wild_rows, accuracy_score),
    "breast cancer": (breast_cancer, None, accuracy_score),
    "breast cancer, 20% random labels": (breast_cancer, wrong_labels, accuracy_score),
    "4% positives": (imbalanced, None, balanced_accuracy_score),
}


def splits(data, contaminate):
    """Training and test data, contaminated the same for each classifier."""
    for seed in range(N_SPLITS):
        X, y = data(seed)
        X, X_test, y, y_test = train_test_split(X, y, random_state=seed, stratify=y)
        if contaminate is not None:
            contaminate(np.random.default_rng(seed), X, y)
        yield X, X_test, y, y_test


def scores(make, data, contaminate, accuracy):
    """Mean accuracy, log loss, Brier score and ms of a fit.

    NaN, and why, where a fit fails.
    """
    values = []
    for X, X_test, y, y_test in splits(data, contaminate):
        try:
            start = time.process_time()
            clf = make().fit(X, y)
            seconds = time.process_time() - start
            predicted, proba = clf.predict(X_test), clf.predict_proba(X_test)
            values.append(
                [
                    accuracy(y_test, predicted),
                    log_loss(y_test, proba, labels=clf.classes_),
                    brier_score_loss(
                        y_test, proba, labels=clf.classes_, scale_by_half=False
                    ),
                    1e3 * seconds,
                ]
            )
        except Exception as failure:
            print(repr(failure), file=sys.stderr)
            values.append([np.nan] * 4)
    return np.mean(values, axis=0)


def print_table(title, accuracy, rows):
    """Print a markdown table of scores by name."""
    measure = accuracy.__name__.removesuffix("_score").replace("_", " ")
    width = max(map(len, rows))
    print(f"\n{title}\n\n| {'':{width}} | {measure} | log loss | Brier | fit, ms |")
    print(f"|{'-' * (width + 2)}|---:|---:|---:|---:|")
    for name, values in rows.items():
        cells = ["fail" if np.isnan(value) else f"{value:.3f}" for value in values]
        cells[-1] = f"{values[-1]:.0f}"
        print(f"| {name:{width}} | {' | '.join(cells)} |", flush=True)


def found_by_cleanlab(X, y):
    from cleanlab.filter import find_label_issues

    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    proba = cross_val_predict(logistic, X, y, method="predict_proba")
    return find_label_issues(y, proba)


def print_wrong_labels_found():
    """Precision and recall of the masks of wrong labels, on digits with 20%."""
    masks = {
        "MedianSGDClassifier.outliers_": lambda X, y: ours().fit(X, y).outliers_,
        "cleanlab.filter.find_label_issues": found_by_cleanlab,
    }
    print("\ndigits, 20% random labels, those found\n")
    print("| | precision | recall | ms |\n|---|---:|---:|---:|")
    for name, find in masks.items():
        values = []
        for seed in range(N_SPLITS):
            X, truth = digits(seed)
            y = truth.copy()
            wrong_labels(np.random.default_rng(seed), X, y)
            start, wrong = time.perf_counter(), y != truth
            try:
                found = find(X, y)
            except ImportError as failure:
                print(repr(failure), file=sys.stderr)
                break
            seconds = time.perf_counter() - start
            values.append([wrong[found].mean(), found[wrong].mean(), 1e3 * seconds])
        else:
            precision, recall, ms = np.mean(values, axis=0)
            print(f"| {name} | {precision:.3f} | {recall:.3f} | {ms:.0f} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for title, (data, contaminate, accuracy) in PROBLEMS.items():
            rows = {
                name: scores(make, data, contaminate, accuracy)
                for name, make in CLASSIFIERS.items()
            }
            print_table(title, accuracy, rows)
        print_wrong_labels_found()
