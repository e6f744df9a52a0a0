"""Every figure shows what it was given, refuses what it cannot show, and is shown once."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgb

import eamlab as el
from eamlab_book import figures
from eamlab_book.figures import PALETTE
from eamlab_book.studies import DEMO_SIZES, load_demo

PRIOR = el.EAM.prior
NAMES = PRIOR.names
N_STUDIES, N_DRAWS = 60, 40


def draws_around(center: float, width: float, n: int = 300, seed: int = 1) -> el.Draws:
    """Draws at `center` with sd `width`, both in prior sds."""
    z = np.random.default_rng(seed).standard_normal((n, len(NAMES)))
    x = PRIOR.unstandardize(center + width * (z - z.mean(0)) / z.std(0))
    return el.Draws(dict(zip(NAMES, x.T, strict=True)), model=el.EAM)


def changed(draws: el.Draws, function) -> el.Draws:
    return el.Draws({k: function(v) for k, v in draws.items()}, model=draws.model)


@pytest.fixture(autouse=True)
def no_figures_of_others():
    """Other modules' tests may leave figures open in this process."""
    plt.close("all")


@pytest.fixture
def exact() -> el.Draws:
    return draws_around(0.0, 0.05, seed=2)


@pytest.fixture
def truth() -> dict:
    return {p.name: p.mean for p in PRIOR.parameters}


@pytest.fixture(scope="module")
def studies() -> list[el.Study]:
    """Studies that differ in their truths."""
    rng, trials = np.random.default_rng(3), [[1, 0.5]]
    return [
        el.Study([trials], truth={k: rng.standard_normal() for k in NAMES})
        for _ in range(N_STUDIES)
    ]


@pytest.fixture(scope="module")
def calibrated() -> list[el.Draws]:
    """Draws of the distribution of the truths: a perfectly calibrated posterior."""
    rng = np.random.default_rng(4)
    return [el.Draws({k: rng.standard_normal(N_DRAWS) for k in NAMES}) for _ in range(N_STUDIES)]


@pytest.fixture
def people() -> tuple[el.Draws, el.Study]:
    """Thirty people whose posterior means shrink by 0.4, and their study."""
    true = {k: np.linspace(0.5, 1.5, 30) for k in el.EAM.person_names}
    values = {k: np.tile(1 + 0.4 * (v - 1), (5, 1)) for k, v in true.items()}
    study = el.Study([[[1, 0.5]]] * 30, truth=true)
    return el.Draws(values, model=el.EAM), study


class History:
    """As Keras returns it."""

    history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.0], "lr": [1.0, 1.0, 1.0]}


def all_figures(exact, truth, calibrated, studies, people) -> dict:
    draws, center = draws_around(0.1, 0.06), dict.fromkeys(el.EAM.person_names, 1.0)
    best = {k: np.array([study.truth[k] for study in studies]) for k in NAMES}
    shrunken, study = people
    return {
        "posterior": figures.posterior_figure(draws, exact=exact, truth=truth),
        "interval": figures.interval_figure(draws, exact, truth=truth),
        "recovery": figures.recovery_figure(calibrated, studies, exact_mean=best),
        "calibration": figures.calibration_figure(calibrated, studies),
        "paths": figures.paths_figure(1.0, 1.2, 0.3, 0.5, seed=1, n_trials=2000),
        "loss": figures.loss_figure(History()),
        "bridge": figures.bridge_figure([(1, 1), (0.1, 0.01)]),
        "shrinkage": figures.shrinkage_figure(shrunken, study, exact=shrunken, group_mean=center),
    }


def visible_texts(figure) -> list:
    return [t for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]


def labels(figure) -> set[str]:
    axes = [ax for part in (figure, *figure.subfigs) for ax in part.axes]
    legends = [leg for leg in (*figure.legends, *(ax.get_legend() for ax in axes)) if leg]
    return {text.get_text() for legend in legends for text in legend.get_texts()}


def test_figures_are_closed_readable_and_leave_the_readers_style_alone(
    exact, truth, calibrated, studies, people
):
    before = dict(plt.rcParams)
    for name, figure in all_figures(exact, truth, calibrated, studies, people).items():
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
        figures.loss_figure(History())
        assert not was_on and plt.isinteractive()
    finally:
        plt.ioff()


def luminance(color: str) -> float:
    """Relative luminance of the WCAG."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("role", PALETTE)
def test_colors_stand_out_from_the_background(role):
    figures.use_style()
    background = luminance(plt.rcParams["figure.facecolor"])
    plt.rcdefaults()
    assert (background + 0.05) / (luminance(PALETTE[role]) + 0.05) > 2.5


def test_labels_are_the_priors_symbols(exact):
    figure = figures.posterior_figure(draws_around(0, 0.1), exact=exact)
    shown = [ax.get_title() for ax in figure.axes[: len(NAMES)]]
    assert shown == [f"${p.symbol}$" for p in PRIOR.parameters]
    assert figures.symbol("t0") == "$t_0$" and figures.symbol("beta") == r"$\beta$"
    assert figures.symbol("something else") == "something else"


def test_labels_prior_and_number_of_panels_are_those_of_the_draws_model():
    """A model of three group parameters, one of which the tutorial's has with another prior."""
    parameters = (
        el.GroupParameter("mu_rho", r"\mu_\rho", 1.0, 2.0, "mean"),
        el.GroupParameter("log_sigma_rho", r"\log\sigma_\rho", 0.0, 1.0, "spread"),
        el.GroupParameter("beta_raw", "b", 5.0, 2.0, "start"),
    )
    rho = el.PersonParameter("rho", r"\rho", "mu_rho", "log_sigma_rho")
    model = el.Model("other", el.GroupPrior(parameters), (rho,), el.EAM.simulate)
    rng = np.random.default_rng(1)
    values = {p.name: rng.normal(p.mean, p.sd, 100) for p in parameters}
    draws = el.Draws(values | {"rho": rng.normal(size=(100, 20))}, model=model)
    for figure in (
        figures.posterior_figure(draws),
        figures.recovery_figure([draws, draws], {k: np.zeros(2) for k in values}, names=values),
        figures.calibration_figure([draws, draws], {k: np.zeros(2) for k in values}, names=values),
    ):
        titles = [ax.get_title() for ax in figure.axes if ax.axison]
        assert titles == [r"$\mu_\rho$", r"$\log\sigma_\rho$", "$b$"]
    prior = next(
        x for x in figures.posterior_figure(draws).axes[2].lines if x.get_label() == "prior"
    )
    x, y = prior.get_data()
    np.testing.assert_allclose(y, stats.norm.pdf(x, 5.0, 2.0), rtol=1e-12)
    shown = figures.shrinkage_figure(draws, {"rho": np.arange(20.0)}).axes[0].get_title()
    assert shown == r"$\rho$"


def test_posterior_densities_integrate_to_one_and_sit_at_the_draws(exact):
    figure = figures.posterior_figure({"a": draws_around(0.2, 0.1), "b": draws_around(-0.2, 0.1)})
    for ax, p in zip(figure.axes, PRIOR.parameters, strict=False):
        for line, center in zip(ax.lines[:2], (0.2, -0.2), strict=True):
            x, y = line.get_data()
            assert np.trapezoid(y, x) == pytest.approx(1.0, abs=0.02)
            assert np.trapezoid(x * y, x) == pytest.approx(p.mean + center * p.sd, abs=0.02 * p.sd)
    assert labels(figure) == {"a", "b", "prior"}


def test_the_gray_posterior_is_the_exact_one():
    figure = figures.posterior_figure(draws_around(0.2, 0.1), exact=draws_around(-0.2, 0.1))
    for ax, p in zip(figure.axes, PRIOR.parameters, strict=False):
        (gray,) = ax.collections
        x, y = gray.get_paths()[0].vertices.T
        assert x[y.argmax()] == pytest.approx(p.mean - 0.2 * p.sd, abs=0.06 * p.sd)
        x, y = ax.lines[0].get_data()
        assert x[y.argmax()] == pytest.approx(p.mean + 0.2 * p.sd, abs=0.06 * p.sd)


def test_posterior_prior_line_is_the_prior():
    ax = figures.posterior_figure(draws_around(0, 1), names=["beta_raw"]).axes[0]
    x, y = next(line for line in ax.lines if line.get_label() == "prior").get_data()
    np.testing.assert_allclose(y, stats.norm.pdf(x), rtol=1e-12)


@pytest.mark.parametrize("n", DEMO_SIZES)
def test_numbers_below_posteriors_do_not_touch(n):
    demo = load_demo(n)
    figure = figures.posterior_figure(demo.exact, truth=demo.study.truth)
    figure.draw_without_rendering()
    rows = {}
    for ax in figure.axes:
        low, high = ax.get_xlim()
        for label in ax.get_xticklabels():
            if ax.axison and low <= label.get_position()[0] <= high:
                box = label.get_window_extent()
                rows.setdefault(round(ax.get_position().y0, 2), []).append((box.x0, box.x1))
    assert len(rows) == 2
    digit = 0.55 * 9 / 72 * figure.dpi  # of 9 points
    for row in map(sorted, rows.values()):
        assert all(start - end > digit for (_, end), (start, _) in zip(row, row[1:], strict=False))


def test_posterior_says_when_draws_are_off_scale():
    tame = draws_around(0, 1)
    wild = el.Draws(dict(tame) | {"mu_nu": tame["mu_nu"] * 1e6}, model=el.EAM)
    figure = figures.posterior_figure(wild, names=["mu_nu", "beta_raw"])
    notes = [[t.get_text() for t in ax.texts] for ax in figure.axes[:2]]
    assert int(re.fullmatch(r"(\d+)% off scale", notes[0][0])[1]) > 95  # of draws in millions
    assert notes[1] == []


def test_equal_draws_give_a_spike_not_an_error():
    same = el.Draws({k: np.full(10, 0.1) for k in NAMES})
    line = figures.posterior_figure(same, show_prior=False).axes[0].lines[0]
    assert np.isfinite(line.get_ydata()).all() and line.get_ydata().max() > 0


def test_takes_what_the_library_returns():
    study = el.simulate(el.EAM, 3, 10, seed=1)
    exact = el.exact(study, el.EAM, 50, seed=1, progress=False)
    figure = figures.interval_figure(exact, exact, truth=study.truth)
    means = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(means, 0.0, atol=1e-9)
    assert labels(figure) == {"composed", "exact, 95 %", "truth"}
    figures.posterior_figure(exact, truth=study.truth)
    shrunken = figures.shrinkage_figure(el.exact_people(exact, study, seed=1), study)
    assert [ax.get_title() for ax in shrunken.axes[:3]] == [r"$\nu$", r"$\alpha$", "$t_0$"]


def test_intervals_are_in_exact_sds(exact, truth):
    shifted = changed(exact, lambda x: x + 2 * x.std())
    ax = figures.interval_figure(shifted, exact, truth=truth).axes[0]
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(marks, 2.0, atol=1e-9)
    np.testing.assert_allclose(np.mean(bars, axis=0), [2 - 1.96, 2 + 1.96], atol=0.15)
    wide = changed(exact, lambda x: x.mean() + 3 * (x - x.mean()))
    ax = figures.interval_figure(wide, exact).axes[0]
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(np.mean(bars, axis=0), [-3 * 1.96, 3 * 1.96], atol=0.45)
    gray = [patch.get_width() for patch in ax.patches]
    np.testing.assert_allclose(np.mean(gray), 2 * 1.96, atol=0.3)


def test_intervals_beyond_the_axis_get_a_number(exact):
    far = changed(exact, lambda x: x + 40 * x.std())
    ax = figures.interval_figure(far, exact).axes[0]
    assert [t.get_text().strip(" →") for t in ax.texts] == ["+40 sd"] * len(NAMES)
    assert ax.get_xlim() == (-8, 8)


def test_intervals_that_leave_the_axis_get_an_arrow_where_they_do(exact):
    wide = changed(exact, lambda x: x + 7.5 * x.std())  # to about 9.5
    ax = figures.interval_figure(wide, exact).axes[0]
    heads = [(line.get_marker(), *line.get_xdata()) for line in ax.lines]
    assert [head for head in heads if head[0] in "<>"] == [(">", 8.0)] * len(NAMES)
    assert not ax.texts


def test_recovery_states_the_correlation(calibrated, studies):
    perfect = [
        el.Draws({k: study.truth[k] + 1e-3 * draws[k] for k in NAMES})
        for draws, study in zip(calibrated, studies, strict=True)
    ]
    truth = {k: np.array([study.truth[k] for study in studies]) for k in NAMES}
    figure = figures.recovery_figure(perfect, studies, exact_mean=truth)
    notes = [ax.texts[0].get_text() for ax in figure.axes[: len(NAMES)]]
    assert notes == ["$r$ = 1.00\nexact 1.00"] * len(NAMES)
    assert "exact posterior mean" in labels(figure)


def test_intervals_of_means_and_of_forecasts_are_those_of_90_percent():
    even = el.Draws({"mu_nu": np.linspace(-1.0, 1.0, 1001)})
    ax = figures.recovery_figure([even, even], {"mu_nu": np.arange(2.0)}).axes[0]
    for i, segment in enumerate(ax.collections[0].get_segments()):
        np.testing.assert_allclose(segment, [[i, -0.9], [i, 0.9]], atol=1e-9)
    frame = pd.DataFrame({"J": [10], "bias": [0.3], "bias_se": [2.0], "true": [1.0]})
    (bar,) = figures.certificate_figure(frame).axes[0].collections[0].get_segments()
    reach = 2.0 * stats.norm.ppf(0.95)
    np.testing.assert_allclose(bar, [[1.0, 0.3 - reach], [1.0, 0.3 + reach]], rtol=1e-3)


def test_calibration_band_holds_uniform_ranks_as_often_as_it_says():
    # Of 200 studies, so that the discreteness of the counts adds little. The share of 6,000 samples
    # has a standard error of 0.3 points, and the band was tuned to half a point: 2.5 of both.
    n_studies = 200
    low, high = figures._ecdf_band(n_studies, N_DRAWS)
    points = figures._rank_points(N_DRAWS)
    ranks = np.random.default_rng(7).integers(0, N_DRAWS + 1, (6000, n_studies))
    counts = (ranks[:, :, None] < points).sum(axis=1)
    inside = np.mean(np.all((counts >= low) & (counts <= high), axis=1))
    assert 0.935 < inside < 0.965


def flagged(figure) -> int:
    return sum(t.get_text() == "outside" for ax in figure.axes for t in ax.texts)


def test_calibration_flags_overconfidence_and_bias_but_not_calibration(calibrated, studies):
    assert flagged(figures.calibration_figure(calibrated, studies)) <= 2
    narrow = [changed(draws, lambda x: 0.2 * x) for draws in calibrated]
    assert flagged(figures.calibration_figure(narrow, studies)) == len(NAMES)
    biased = [changed(draws, lambda x: x + 1.0) for draws in calibrated]
    assert flagged(figures.calibration_figure(biased, studies)) == len(NAMES)


def test_studies_truths_and_columns_are_the_same_data_sets(calibrated, studies):
    """A list of draws and studies, the true values by name, and one array (S, n) for all."""
    truth = {k: np.array([study.truth[k] for study in studies]) for k in NAMES}
    together = {k: np.stack([draws[k] for draws in calibrated], axis=1) for k in NAMES}
    for draw in (figures.calibration_figure, figures.recovery_figure):
        lines = [
            np.concatenate([line.get_xydata() for ax in made.axes for line in ax.lines])
            for made in (
                draw(calibrated, studies),
                draw(calibrated, truth),
                draw(el.Draws(together), truth),
                draw(together, truth),
            )
        ]
        for other in lines[1:]:
            np.testing.assert_array_equal(lines[0], other)


def test_people_of_several_studies_are_pooled():
    rng = np.random.default_rng(5)
    studies = [el.simulate(el.EAM, J, 2, seed=J) for J in (3, 4)]
    draws = [el.Draws({"mu_nu": np.zeros(9), "nu": rng.normal(size=(9, len(s)))}) for s in studies]
    figure = figures.recovery_figure(draws, studies)
    points = figure.axes[0].collections[1].get_offsets()
    np.testing.assert_allclose(points[:, 0], np.concatenate([s.truth["nu"] for s in studies]))
    np.testing.assert_allclose(points[:, 1], np.concatenate([d["nu"].mean(0) for d in draws]))
    assert [ax.get_title() for ax in figure.axes if ax.axison] == [r"$\nu$"]


def test_paths_end_at_the_bounds_and_histograms_follow_the_density():
    alpha = 1.2
    figure = figures.paths_figure(1.0, alpha, 0.3, 0.5, seed=4, n_paths=5, n_trials=20_000)
    top, middle, bottom = figure.axes
    ends = [line.get_ydata()[-1] for line in middle.lines if line.get_marker() == "o"]
    assert len(ends) == 5 and set(ends) <= {0.0, alpha}
    for ax in (top, bottom):
        heights, edges, _ = ax.patches[0].get_data()
        rt, density = ax.lines[0].get_data()
        share = np.trapezoid(density, rt)
        # Binomial error of 20,000 trials is below 0.0036; the axis ends at the same time for both.
        assert np.sum(heights * np.diff(edges)) == pytest.approx(share, abs=0.02)
    upper = 1 / (1 + np.exp(-2 * 1.0 * alpha / 2))  # from the middle
    assert top.texts[0].get_text() == f"upper bound, choice 1: {upper:.0%}"
    assert bottom.texts[0].get_text() == f"lower bound, choice 0: {1 - upper:.0%}"


@pytest.mark.parametrize("dt", [0.02, 0.01])
def test_bins_hold_the_same_number_of_steps(dt):
    t0, options = 0.3, {"scheme": "euler-maruyama", "dt": dt, "max_rt": 1.5}
    figure = figures.paths_figure(1.0, 1.2, t0, 0.5, seed=1, n_trials=500, **options)
    _, edges, _ = figure.axes[0].patches[0].get_data()
    times = t0 + dt * np.arange(1, 60)
    counts, _ = np.histogram(times[times < 1.3], edges)
    first, last = np.flatnonzero(counts)[[0, -1]]
    assert len(set(counts[first + 1 : last])) == 1


def test_bridge_lines_follow_the_formula():
    figure = figures.bridge_figure([(0.1, 0.001)])
    t, d = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(d, 0.1 ** (1 - t) * 0.001**t)


def test_loss_shows_training_and_validation():
    figure = figures.loss_figure(History())
    training, validation = figure.axes[0].lines
    np.testing.assert_array_equal(training.get_xydata(), [[1, 3], [2, 2], [3, 1]])
    np.testing.assert_array_equal(validation.get_ydata(), History.history["val_loss"])
    assert labels(figure) == {"training", "validation"}


def test_shrinkage_states_correlation_and_slope(people):
    figure = figures.shrinkage_figure(*people)
    assert [ax.texts[0].get_text() for ax in figure.axes[:3]] == ["$r$ = 1.00\n$b$ = 0.40"] * 3


def decorated(x: float) -> float:
    """Add one.

    More text.
    """
    return x + 1  # kept


def test_source_is_shown_without_docstrings_and_names_its_file():
    shown = figures.show_source(decorated, el.model.simulator._euler_trial).data
    assert "return x + 1  # kept" in shown and "Add one" not in shown and "More text" not in shown
    assert "# eamlab/model/simulator.py\n" in shown and "def _euler_trial(" in shown
    assert shown.count("```") == 4


def test_source_of_a_method_and_a_class():
    method = figures.show_source(el.GroupPrior.score).data
    assert "\ndef score(self" in method and "return self.diffused_score(x, 1.0, 0.0)" in method
    assert "class GroupParameter" in figures.show_source(el.GroupParameter).data


ONE = el.Draws({k: np.linspace(0, 1, 5) for k in NAMES})
NAN = changed(ONE, lambda x: x * np.nan)
TRUE = {k: np.zeros(2) for k in NAMES}


class Untrained:
    history: dict = {}


BAD = {
    "diverged": (
        lambda: figures.posterior_figure(NAN),
        "draws of 'composed': 5 of 5 values of 'mu_nu'.*diverged",
    ),
    "exact": (lambda: figures.posterior_figure(ONE, exact=NAN), "exact: 5 of 5"),
    "two studies": (
        lambda: figures.posterior_figure({"a": [ONE, ONE], "b": ONE}),
        "draws of 'a' must be the draws of one study",
    ),
    "a list": (lambda: figures.posterior_figure([ONE, ONE]), "one study, got those of 2"),
    "empty": (lambda: figures.posterior_figure({}), "at least one parameter"),
    "unknown name": (
        lambda: figures.posterior_figure(ONE, names=["x"]),
        r"names \['x'\] are not among the draws",
    ),
    "no group": (
        lambda: figures.posterior_figure(el.Draws({"nu": np.zeros((5, 3))})),
        r"names \[\] are not",
    ),
    "truth": (
        lambda: figures.interval_figure(ONE, ONE, truth={"mu_nu": [1, 2]}),
        r"truth\['mu_nu'\] must be one number",
    ),
    "too few truths": (
        lambda: figures.recovery_figure([ONE] * 3, TRUE),
        "those of 3 data sets, and there are 2 true values",
    ),
    "unknown truth": (
        lambda: figures.calibration_figure([ONE], el.Study([[[1, 0.5]]])),
        "studies: the true value of 'mu_nu' is not known",
    ),
    "numbers of draws": (
        lambda: figures.calibration_figure([ONE, el.Draws({k: np.zeros(6) for k in NAMES})], TRUE),
        "the same number of draws",
    ),
    "not finite": (lambda: figures.recovery_figure([ONE, NAN], TRUE), "'mu_nu' are not finite"),
    "exact means": (
        lambda: figures.recovery_figure([ONE] * 2, TRUE, exact_mean={"mu_nu": np.zeros(3)}),
        r"exact_mean\['mu_nu'\] must be 2 numbers, got shape \(3,\)",
    ),
    "nothing": (lambda: figures.recovery_figure([], []), "draws must hold those of at least one"),
    "bridge": (lambda: figures.bridge_figure([(0, 1)]), "d0 and d1 must be positive, got d0 = 0"),
    "loss": (lambda: figures.loss_figure(Untrained()), "history has no loss"),
    "shrinkage": (lambda: figures.shrinkage_figure(ONE, TRUE), r"names \[\] are not"),
    "source": (lambda: figures.show_source(3), "functions: 3 has no Python source"),
    "drift": (lambda: figures.paths_figure(np.nan, 1, 0.3, 0.5, seed=1), "nu must be finite"),
    "ranks": (lambda: figures.sbc_figure({"mu_nu": [11]}, 10), r"ranks\['mu_nu'\] must lie in 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
    assert plt.get_fignums() == []


def test_stored_ranks_give_the_same_figure_as_draws(calibrated, studies):
    pairs = list(zip(calibrated, studies, strict=True))
    ranks = {k: np.array([np.sum(d[k] < s.truth[k]) for d, s in pairs]) for k in NAMES}
    stored = figures.sbc_figure(ranks, N_DRAWS)
    direct = figures.calibration_figure(calibrated, studies)
    for a, b in zip(stored.axes[: len(NAMES)], direct.axes[: len(NAMES)], strict=True):
        np.testing.assert_array_equal(a.lines[0].get_ydata(), b.lines[0].get_ydata())


def test_grades_show_every_parameter_and_their_median():
    rows = [(10, "a", k, 0.5 + i, 1.0) for i, k in enumerate(NAMES)]
    frame = pd.DataFrame(rows, columns=["J", "recipe", "parameter", "bias", "sd_ratio"])
    dots, median = figures.grades_figure(frame).axes[0].lines[:2]
    np.testing.assert_allclose(dots.get_xdata(), 0.5 + np.arange(7))
    assert np.squeeze(median.get_xdata()) == 3.5
