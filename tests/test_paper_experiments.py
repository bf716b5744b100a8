"""The paper's statements, on what the gallery's scripts compute."""

import numpy as np
from _examples import run_example

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]


def test_stable_noise():
    results = run_example("paper/plot_stable_noise.py")
    rms, final, powers = (results[name] for name in ("rms", "final", "powers"))
    heavy, normal = 1.1, 2.0
    assert results["ALPHAS"][0] == heavy
    assert results["ALPHAS"][-1] == normal

    # Averages of medians come near at all tails, about as 1 / sqrt(number). Those of
    # the mean, of which momentum's are another mean, do not where tails are heavy.
    for name in MEDIANS:
        assert final[name, heavy] < 0.2 * final["mean", heavy]
        assert powers[name, heavy] < -0.4
    for name in ("mean", "momentum"):
        assert powers[name, heavy] > -0.35
    np.testing.assert_allclose(final["momentum", heavy], final["mean", heavy], rtol=0.1)

    # Momentum lessens the blows, and is far from any median still.
    assert rms["momentum", heavy] < 0.5 * rms["mean", heavy]
    for name in MEDIANS:
        assert rms[name, heavy] < 0.5 * rms["momentum", heavy]

    # Tails hardly matter to spp-l1, and more to the geometric medians.
    errors = [rms["spp-l1", alpha] for alpha in results["ALPHAS"]]
    assert max(errors) < 1.1 * min(errors)
    for table in (rms, final):
        assert table["geometric-median", heavy] > table["coord-median", heavy]
        assert table["spp-l2", heavy] > table["spp-l1", heavy]

    # On normal noise the medians lose a fraction: a componentwise one at most
    # sqrt(pi / 2) - 1 in theory, and each is one draw of an average.
    for name in MEDIANS:
        assert final[name, normal] < 1.7 * final["mean", normal]
    for name in ("geometric-median", "spp-l2"):
        assert final[name, normal] < 1.2 * final["mean", normal]
    assert rms["momentum", normal] == min(
        rms[name, normal] for name in results["STYLES"]
    )
    np.testing.assert_allclose(rms["momentum", 1.7], rms["spp-l1", 1.7], rtol=0.2)


def test_state_dependent_noise():
    results = run_example("paper/plot_state_dependent_noise.py")
    errors, runs, rates = (results[name] for name in ("errors", "runs", "rates"))
    for problem, at_start in results["at_start"].items():
        for run in runs[problem, "mean"]:
            assert run[-1] > 1e3 * errors[problem, "coord-median"][-1]
        assert errors[problem, "mean"][-1] > 1e3 * at_start
        assert errors[problem, "mean"].max() > 1e4  # beyond the panel
        for name in ("coord-median", "geometric-median"):
            for run in runs[problem, name]:
                assert run[-1] < 0.2 * at_start
    # About 1 / sqrt(t) where it is all that is promised, and faster elsewhere.
    for name in ("coord-median", "geometric-median"):
        assert -0.65 < rates["badly conditioned", name] < -0.4
        assert rates["well conditioned", name] < -1.5


def test_clipping_is_median_tracking():
    results = run_example("paper/plot_clipping_is_median_tracking.py")
    assert len(results["trajectories"]) == 4
    for textbook, iterates in results["trajectories"].values():
        assert len(textbook) == len(iterates) == results["N_ITERATIONS"]
        # Iterates are of the order of 1, and the iteration contracts.
        np.testing.assert_allclose(iterates, textbook, rtol=0, atol=1e-12)
        assert np.abs(textbook[-1] - results["start"]).max() > 1

    excursions, arrivals = results["excursions"], results["arrivals"]
    heavy_ball = excursions.pop("heavy ball")
    assert heavy_ball > 2 * max(excursions.values())
    clipped_norm = arrivals.pop("clipped norm")
    assert clipped_norm > 2 * max(arrivals.values())

    moves = np.diff(results["trajectories"]["clipped norm"][0], axis=0)
    assert (
        np.linalg.norm(moves, axis=1).max() <= results["ETA"] * results["TAU"] + 1e-12
    )


def test_adversarial_gradients():
    results = run_example("paper/plot_adversarial_gradients.py")
    errors, limit = results["errors"], results["LIMIT"]
    at_start = np.linalg.norm(results["solution"])

    # One large gradient is enough against the mean.
    assert errors["large", "mean"][1:] == [limit] * 6
    for name in MEDIANS:
        none, one, two, _, _, five, six = errors["large", name]
        assert one < 1.1 * none
        assert two < 1.6 * none
        assert at_start < five < 3 * at_start
        assert six == limit

    # Sign flips and the inner product attack do little to the mean below one half, and
    # harm medians.
    assert max(errors["sign flip", "mean"][:5]) < 1.1 * errors["large", "mean"][0]
    assert errors["sign flip", "mean"][5] < 3 * errors["large", "mean"][0]
    assert errors["sign flip", "mean"][6] > at_start
    assert max(errors["inner product", "mean"]) < 1.1 * errors["large", "mean"][0]
    for name in MEDIANS:
        for attack in ("sign flip", "inner product"):
            assert errors[attack, name][5] > 2 * errors[attack, "mean"][5]
            assert errors[attack, name][6] > at_start
        # The direction counts, not the size.
        np.testing.assert_allclose(
            errors["sign flip", name][3:6], errors["large", name][3:6], rtol=0.35
        )

    # A little is enough against all of them, and the mean withstands it best.
    for name in ("mean", *MEDIANS):
        error = errors["a little is enough", name]
        assert np.all(np.diff(error[:6]) > 0)
        assert error[5] > 5 * error[0]
    for name in MEDIANS:
        little = errors["a little is enough", name][5]
        assert little > 1.15 * errors["a little is enough", "mean"][5]
