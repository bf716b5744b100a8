"""
=======================================
Real data: how a stock follows a market
=======================================

The *beta* of a stock is the slope of its returns against those of the market. Returns
have heavy tails: in a few months a stock falls or rises for reasons of its own, and
these months decide the slope of least squares. The data are monthly prices from 1990 to
2022, which Matplotlib ships.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from sklearn.linear_model import HuberRegressor, LinearRegression

from medsgd import MedianSGDRegressor

STOCKS = ("IBM", "AAPL", "MSFT", "XRX", "AMZN", "ADBE")
N_DRAWS = 50

# %%
# Returns
# -------
# Rows of days on which a dividend was paid have no prices.

with get_sample_data("Stocks.csv") as file:
    prices = np.genfromtxt(file, delimiter=",", skip_header=1, names=True, dtype=None)
prices = prices[np.isfinite(prices["IBM"])]


def returns(name):
    """Monthly returns in per cent, NaN before the stock was traded."""
    return 100 * np.diff(np.log(prices[name]))


market = returns("GSPC")

# %%
# Models
# ------
# The spread of a slope is its standard deviation over bootstrap samples of the months.


def models():
    """The models compared, by name."""
    return {
        "LinearRegression": LinearRegression(),
        "HuberRegressor": HuberRegressor(),
        "MedianSGDRegressor": MedianSGDRegressor(random_state=0),
    }


betas, spreads, unusual = {}, {}, {}
for stock in STOCKS:
    y = returns(stock)
    traded = np.isfinite(y)
    X, y = market[traded, np.newaxis], y[traded]
    rng = np.random.default_rng(0)
    draws = rng.integers(len(y), size=(N_DRAWS, len(y)))
    for name, model in models().items():
        betas[stock, name] = model.fit(X, y).coef_[0]
        slopes = [models()[name].fit(X[rows], y[rows]).coef_[0] for rows in draws]
        spreads[stock, name] = np.std(slopes)
    # The last model is MedianSGDRegressor.
    unusual[stock] = model.outliers_.sum()

# %%
# Results
# -------
# The slopes differ most for Amazon, whose returns around the year 2000 pull least
# squares from 1.4 to 1.7. There all three are uncertain. For the other stocks the
# slopes differ by about their spread at most, and the robust slopes vary less: the
# spread of :class:`~medsgd.MedianSGDRegressor` is 0.8 to 1 times that of least squares.
# :class:`~sklearn.linear_model.HuberRegressor` is as good here: its spread is the
# smaller one for four of the six stocks, since returns that are far out are on both
# sides.

print(f"{'':8s}{'months':>8s}" + "".join(f"{name:>22s}" for name in models()))
for stock in STOCKS:
    row = [f"{betas[stock, n]:.2f} +- {spreads[stock, n]:.2f}" for n in models()]
    print(f"{stock:8s}{unusual[stock]:8d}" + "".join(f"{cell:>22s}" for cell in row))
print("months: those in outliers_")

y = returns("AMZN")
traded = np.isfinite(y)
X, y = market[traded, np.newaxis], y[traded]
fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ends = np.array([[-20.0], [14.0]])
for name, color in (("LinearRegression", "#000000"), ("MedianSGDRegressor", "#D55E00")):
    model = models()[name].fit(X, y)
    ax.plot(ends, model.predict(ends), color=color, label=name)
ax.scatter(X[~model.outliers_], y[~model.outliers_], s=8, color="0.6")
ax.scatter(
    X[model.outliers_], y[model.outliers_], s=14, color="#CC79A7", label="outliers_"
)
ax.set(title="Amazon", xlabel="market, % a month", ylabel="stock, % a month")
ax.legend()
plt.show()
