"""Every figure shows what it was given, refuses what it cannot show, and is shown once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgb

import eamlab as el
from eamlab import plots
from eamlab.plots import PALETTE

NAMES = el.GROUP_PRIOR.names
N_STUDIES, N_DRAWS = 60, 40


def draws_around(center: float, width: float, n: int = 300, seed: int = 1) -> dict:
    """Draws (1, n, 1) at `center` with sd `width`, both in prior sds."""
    z = np.random.default_rng(seed).standard_normal((n, len(NAMES)))
    z = (z - z.mean(0)) / z.std(0)
    return {
        p.name: (p.mean + p.sd * (center + width * z[:, i])).reshape(1, n, 1)
        for i, p in enumerate(el.GROUP_PRIOR.parameters)
    }


@pytest.fixture
def exact() -> dict:
    return {k: v.reshape(-1) for k, v in draws_around(0.0, 0.05, seed=2).items()}


@pytest.fixture
def truth() -> dict:
    return {p.name: np.array([[p.mean]]) for p in el.GROUP_PRIOR.parameters}


@pytest.fixture
def calibrated() -> tuple[dict, dict]:
    """Truths and draws of the same distribution: a perfectly calibrated posterior."""
    rng = np.random.default_rng(3)
    truth = {k: rng.standard_normal((N_STUDIES, 1)) for k in NAMES}
    return {k: rng.standard_normal((N_STUDIES, N_DRAWS, 1)) for k in NAMES}, truth


def figures(exact: dict, truth: dict, calibrated: tuple[dict, dict]) -> dict:
    draws, many = draws_around(0.1, 0.06), calibrated
    subjects = {k: np.linspace(0.5, 1.5, 20)[None] for k in el.SUBJECT_NAMES}
    center = dict.fromkeys(el.SUBJECT_NAMES, 1.0)
    means = {k: 1.0 + 0.5 * (v[0] - 1.0) for k, v in subjects.items()}
    return {
        "posterior": plots.posterior_figure(draws, exact=exact, truth=truth),
        "interval": plots.interval_figure(draws, exact, truth=truth),
        "recovery": plots.recovery_figure(*many, exact_mean=many[1]),
        "calibration": plots.calibration_figure(*many),
        "paths": plots.paths_figure(1.0, 1.2, 0.3, 0.5, seed=1, n_trials=2000),
        "loss": plots.loss_figure({"a": [3.0, 2.0], "b": [3.0, 2.5]}),
        "bridge": plots.bridge_figure([(1, 1), (0.1, 0.01)]),
        "shrinkage": plots.shrinkage_figure(means, subjects, exact=means, group_mean=center),
    }


def visible_texts(figure) -> list:
    return [t for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]


def labels(figure) -> set[str]:
    axes = [ax for part in (figure, *figure.subfigs) for ax in part.axes]
    legends = [leg for leg in (*figure.legends, *(ax.get_legend() for ax in axes)) if leg]
    return {text.get_text() for legend in legends for text in legend.get_texts()}


def test_figures_are_closed_readable_and_leave_the_readers_style_alone(exact, truth, calibrated):
    before = dict(plt.rcParams)
    for name, figure in figures(exact, truth, calibrated).items():
        figure.canvas.draw()
        assert min(t.get_fontsize() for t in visible_texts(figure)) >= 9, name
        assert to_hex(figure.get_facecolor(), True) != to_hex("none", True), name
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_readers_figures_are_still_shown_after_ours(monkeypatch):
    """In a notebook the first figure of all switches interactive mode on; it must stay on."""
    original = plt.subplots

    def first_figure(*args, **kwargs):
        plt.ion()
        return original(*args, **kwargs)

    monkeypatch.setattr(plt, "subplots", first_figure)
    was_on = plt.isinteractive()
    try:
        plots.loss_figure([1.0, 0.5])
        assert not was_on and plt.isinteractive()
    finally:
        plt.ioff()


def test_import_is_light():
    code = (
        "import sys, eamlab.plots; heavy = {'matplotlib', 'tensorflow', 'keras', 'bayesflow'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    source = str(Path(el.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def luminance(color: str) -> float:
    """Relative luminance of the WCAG."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("role", PALETTE)
def test_colors_stand_out_from_the_background(role):
    plots.use_style()
    background = luminance(plt.rcParams["figure.facecolor"])
    plt.rcdefaults()
    assert (background + 0.05) / (luminance(PALETTE[role]) + 0.05) > 2.2


def test_labels_are_the_priors_symbols(exact):
    figure = plots.posterior_figure(draws_around(0, 0.1), exact=exact)
    shown = [ax.get_xlabel() for ax in figure.axes[:7]]
    assert shown == [f"${p.symbol}$" for p in el.GROUP_PRIOR.parameters]
    assert plots.symbol("t0") == "$t_0$"
    assert plots.symbol("something else") == "something else"


def test_posterior_densities_integrate_to_one_and_sit_at_the_draws(exact):
    figure = plots.posterior_figure({"a": draws_around(0.2, 0.1), "b": draws_around(-0.2, 0.1)})
    for ax, p in zip(figure.axes, el.GROUP_PRIOR.parameters, strict=False):
        for line, center in zip(ax.lines[:2], (0.2, -0.2), strict=True):
            x, y = line.get_data()
            assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.02)
            assert np.trapezoid(x * y, x) == pytest.approx(p.mean + center * p.sd, abs=0.02 * p.sd)
    assert labels(figure) == {"a", "b", "prior"}


def test_posterior_prior_line_is_the_prior():
    ax = plots.posterior_figure(draws_around(0, 1), names=["beta_raw"]).axes[0]
    x, y = next(line for line in ax.lines if line.get_label() == "prior").get_data()
    np.testing.assert_allclose(y, stats.norm.pdf(x), rtol=1e-12)


def test_posterior_says_when_draws_are_off_scale():
    wild = draws_around(0, 1)
    wild["mu_nu"] = wild["mu_nu"] * 1e6
    figure = plots.posterior_figure(wild, names=["mu_nu", "beta_raw"])
    notes = [[t.get_text() for t in ax.texts] for ax in figure.axes[:2]]
    assert re.fullmatch(r"\d+% off scale", notes[0][0])
    assert notes[1] == []


def test_equal_draws_give_a_spike_not_an_error():
    same = {k: np.full((1, 10, 1), 0.1) for k in NAMES}
    line = plots.posterior_figure(same, show_prior=False).axes[0].lines[0]
    assert np.isfinite(line.get_ydata()).all() and line.get_ydata().max() > 0


def test_accepts_the_exact_posterior_object():
    study = el.simulate_studies(1, 3, 10, seed=1, scheme="exact")
    exact = el.exact_posterior(study["sim_data"][0], 50, seed=1, progress=False)
    figure = plots.interval_figure({k: v[None] for k, v in exact.samples.items()}, exact)
    means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(means, 0.0, atol=1e-9)


def test_intervals_are_in_exact_sds(exact, truth):
    sd = {k: v.std() for k, v in exact.items()}
    shifted = {k: v + 2 * sd[k] for k, v in exact.items()}
    ax = plots.interval_figure(shifted, exact, truth=truth).axes[0]
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(marks, 2.0, atol=1e-9)
    np.testing.assert_allclose(np.mean(bars, axis=0), [2 - 1.96, 2 + 1.96], atol=0.15)


def test_intervals_beyond_the_axis_get_a_number(exact):
    far = {k: v + 40 * v.std() for k, v in exact.items()}
    ax = plots.interval_figure(far, exact).axes[0]
    assert [t.get_text().strip(" →") for t in ax.texts] == ["+40 sd"] * 7
    assert ax.get_xlim() == (-8, 8)


def test_recovery_states_the_correlation(calibrated):
    draws, truth = calibrated
    perfect = {k: truth[k][:, None] + 1e-3 * draws[k] for k in NAMES}
    figure = plots.recovery_figure(perfect, truth, exact_mean=truth)
    notes = [ax.texts[0].get_text() for ax in figure.axes[:7]]
    assert notes == ["$r$ = 1.00\nexact 1.00"] * 7
    assert "exact posterior mean" in labels(figure)


def test_calibration_band_holds_uniform_ranks_as_often_as_it_says():
    # 2,000 uniform samples of ranks: the share inside a 95 % band is within 2.3 points (4.7
    # standard errors) of 95 %, or above it by what the discreteness of the counts adds.
    low, high = plots._ecdf_band(N_STUDIES, N_DRAWS)
    points = plots._rank_points(N_DRAWS)
    ranks = np.random.default_rng(7).integers(0, N_DRAWS + 1, (2000, N_STUDIES))
    counts = (ranks[:, :, None] < points).sum(axis=1)
    inside = np.mean(np.all((counts >= low) & (counts <= high), axis=1))
    assert 0.927 < inside < 0.985


def flagged(figure) -> int:
    return sum(t.get_text() == "outside" for ax in figure.axes for t in ax.texts)


def test_calibration_flags_overconfidence_and_bias_but_not_calibration(calibrated):
    draws, truth = calibrated
    assert flagged(plots.calibration_figure(draws, truth)) <= 2
    narrow = {k: 0.2 * v for k, v in draws.items()}
    assert flagged(plots.calibration_figure(narrow, truth)) == 7
    biased = {k: v + 1.0 for k, v in draws.items()}
    assert flagged(plots.calibration_figure(biased, truth)) == 7


def test_paths_end_at_the_bounds_and_histograms_follow_the_density():
    alpha = 1.2
    figure = plots.paths_figure(1.0, alpha, 0.3, 0.5, seed=4, n_paths=5, n_trials=20_000)
    top, middle, bottom = figure.axes
    ends = [line.get_ydata()[-1] for line in middle.lines if line.get_marker() == "o"]
    assert len(ends) == 5 and set(ends) <= {0.0, alpha}
    for ax in (top, bottom):
        heights, edges, _ = ax.patches[0].get_data()
        rt, density = ax.lines[0].get_data()
        share = np.trapezoid(density, rt)
        # Binomial error of 20,000 trials is below 0.0036; the axis ends at the same time for both.
        assert np.sum(heights * np.diff(edges)) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("dt", [0.02, 0.01])
def test_bins_hold_the_same_number_of_steps(dt):
    t0 = 0.3
    edges = plots._time_bins(1.5, t0, dt)
    times = t0 + dt * np.arange(1, 60)
    counts, _ = np.histogram(times[times < 1.3], edges)
    first, last = np.flatnonzero(counts)[[0, -1]]
    assert len(set(counts[first + 1 : last])) == 1


def test_bridge_lines_follow_the_formula():
    figure = plots.bridge_figure([(0.1, 0.001)])
    t, d = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(d, 0.1 ** (1 - t) * 0.001**t)


def test_loss_takes_lists_mappings_and_histories():
    class History:
        history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.0], "lr": [1.0, 1.0, 1.0]}

    assert len(plots.loss_figure([3.0, 2.0]).axes[0].lines) == 1
    assert labels(plots.loss_figure({"small": [1.0], "large": [2.0]})) == {"small", "large"}
    assert labels(plots.loss_figure(History())) == {"training", "validation"}


def test_shrinkage_states_correlation_and_slope():
    truth = {k: np.linspace(0.5, 1.5, 30) for k in el.SUBJECT_NAMES}
    draws = {k: np.tile(1 + 0.4 * (v - 1)[None, :, None], (1, 1, 5)) for k, v in truth.items()}
    figure = plots.shrinkage_figure(draws, truth)
    assert [ax.texts[0].get_text() for ax in figure.axes[:3]] == ["$r$ = 1.00\n$b$ = 0.40"] * 3


def decorated(x: float) -> float:
    """Add one.

    More text.
    """
    return x + 1  # kept


def test_source_is_shown_without_docstrings_and_names_its_file():
    shown = plots.show_source(decorated, el.simulate._euler_trial).data
    assert "return x + 1  # kept" in shown and "Add one" not in shown and "More text" not in shown
    assert "# eamlab/simulate.py\n@_jit\ndef _euler_trial(" in shown
    assert shown.count("```") == 4


def test_source_of_a_method_and_a_class():
    method = plots.show_source(type(el.GROUP_PRIOR).score).data
    assert "\ndef score(self" in method and "return self.diffused_score(x, 1.0, 0.0)" in method
    assert "class GroupParameter" in plots.show_source(el.priors.GroupParameter).data


NAN = {k: np.full((1, 5, 1), np.nan) for k in NAMES}
TWO = {k: np.zeros((2, 5, 1)) for k in NAMES}
ONE = {k: np.linspace(0, 1, 5) for k in NAMES}
BAD = {
    "diverged": (lambda: plots.posterior_figure(NAN), r"draws of 'composed'\['mu_nu'\].*diverged"),
    "two studies": (lambda: plots.posterior_figure(TWO), "holds 2 studies.*give one"),
    "unknown name": (lambda: plots.posterior_figure(ONE, names=["x"]), r"names \['x'\] are not"),
    "truth": (
        lambda: plots.interval_figure(ONE, ONE, truth={"mu_nu": [1, 2]}),
        "truth.*one number",
    ),
    "empty": (lambda: plots.posterior_figure({}), "draws of 'composed' are empty"),
    "recovery": (lambda: plots.recovery_figure(ONE, ONE), r"must have shape \(n, S, 1\)"),
    "calibration": (lambda: plots.calibration_figure(TWO, ONE), r"got \(2, 5\) and \(5,\)"),
    "bridge": (lambda: plots.bridge_figure([(0, 1)]), r"pairs must be positive.*\(0, 1\)"),
    "loss": (lambda: plots.loss_figure([]), "loss.*must be a sequence of numbers"),
    "shrinkage": (lambda: plots.shrinkage_figure(ONE, TWO, names=["mu_nu"]), "with J = 10"),
    "source": (lambda: plots.show_source(3), "functions: 3 has no Python source"),
    "drift": (lambda: plots.paths_figure(np.nan, 1, 0.3, 0.5, seed=1), "nu must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
    assert plt.get_fignums() == []


def test_stored_ranks_give_the_same_figure_as_draws(calibrated):
    draws, truth = calibrated
    ranks = {k: (draws[k][..., 0] < truth[k]).sum(axis=1) for k in NAMES}
    stored = plots.sbc_figure(ranks, N_DRAWS)
    direct = plots.calibration_figure(draws, truth)
    for a, b in zip(stored.axes[:7], direct.axes[:7], strict=True):
        np.testing.assert_array_equal(a.lines[0].get_ydata(), b.lines[0].get_ydata())
    with pytest.raises(ValueError, match=r"ranks\['mu_nu'\] must lie in 0\.\.10"):
        plots.sbc_figure({"mu_nu": [11]}, 10)


def test_grades_show_every_parameter_and_their_median():
    rows = [(10, "a", k, 0.5 + i, 1.0) for i, k in enumerate(NAMES)]
    frame = pd.DataFrame(rows, columns=["J", "recipe", "parameter", "bias", "sd_ratio"])
    dots, median = plots.grades_figure(frame).axes[0].lines[:2]
    np.testing.assert_allclose(dots.get_xdata(), 0.5 + np.arange(7))
    assert np.squeeze(median.get_xdata()) == 3.5
