"""The certificate: what simulated compositions say about a composed posterior's error."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import eamlab as el
from eamlab.composition import certificate
from eamlab.reference.posterior import log_likelihood

PRIOR = el.EAM.prior
DIM = len(PRIOR)


class Workflow:
    model = el.EAM


@pytest.fixture
def pretend(monkeypatch):
    """Composed means that are a known linear function of the parameters, plus noise."""

    def make(offset, slope, noise, composed, sd, seed=1):
        rng = np.random.default_rng(seed)

        def composed_means(workflow, draws, study, points, num_samples, rng_):
            x = (points - composed) / sd
            made = offset + x @ slope.T + noise * rng.standard_normal(x.shape)
            return composed + sd * made

        monkeypatch.setattr(certificate, "_composed_means", composed_means)
        values = composed + sd * rng.standard_normal((400, DIM))
        values = composed + sd * (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
        draws = el.Draws(dict(zip(PRIOR.names, values.T, strict=True)), model=el.EAM)
        return draws, el.Study([[[1, 0.5]] * 3] * 4)

    return make


def test_a_shift_is_found_with_its_error_and_mended(pretend):
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds  # far narrower than the prior
    offset = np.linspace(-2.0, 2.0, DIM)
    draws, study = pretend(offset, np.eye(DIM), 1.0, composed, sd)
    found = el.certify(Workflow(), draws, study, n_studies=200, correct=True, seed=1)
    z = (found.table["bias"] - offset) / found.table["bias_se"]
    assert np.abs(z).max() < 4.0  # 7 checks: by chance once in 2,000
    assert found.table["bias_se"].between(0.25, 0.4).all()
    np.testing.assert_allclose(found.table["sd_ratio"], 1.0, atol=0.2)
    moved = (np.array(list(found.draws.mean.values())) - composed) / sd
    # By what was found, less what may be chance: little where others are far off.
    size = (found.table["bias"] / found.table["bias_se"]) ** 2
    sure = 1.0 - 1.0 / np.maximum(size, size.mean())
    np.testing.assert_allclose(moved, -found.table["bias"] * sure, atol=1e-8)
    assert sure.min() > 0.9
    first, *_, last = (s for s in found.sentences if "sd too" in s)
    assert first.startswith("mu_nu: ") and "too low" in first  # by 2 sds
    assert last.startswith("beta_raw: ") and "too high" in last


def test_what_may_be_chance_moves_nothing(pretend):
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, composed, sd)
    found = el.certify(Workflow(), draws, study, n_studies=200, correct=True, seed=1)
    moved = (np.array(list(found.draws.mean.values())) - composed) / sd
    assert np.abs(moved).max() < 0.3


def test_means_that_move_together_are_disentangled(pretend):
    """Each composed mean moves with the next parameter, too: m = offset + A x, found from m = 0."""
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds
    offset, slope = np.linspace(-1.0, 2.0, DIM), np.eye(DIM) + 0.6 * np.eye(DIM, k=1)
    draws, study = pretend(offset, slope, 0.1, composed, sd)
    found = el.certify(Workflow(), draws, study, n_studies=200, seed=1)
    np.testing.assert_allclose(found.table["bias"], np.linalg.solve(slope, offset), atol=0.15)


def test_the_standard_error_is_that_of_many_certificates(pretend, monkeypatch):
    """Far from the simulated studies the regression says little, and says so."""
    monkeypatch.setattr(certificate, "_UNTOLD", 0.0)
    composed, sd, z = PRIOR.means, 0.02 * PRIOR.sds, []
    for seed in range(12):
        draws, study = pretend(np.full(DIM, 2.0), np.eye(DIM), 1.0, composed, sd, seed)
        table = el.certify(Workflow(), draws, study, n_studies=60, rounds=1, seed=seed).table
        z.append((table["bias"] - 2.0) / table["bias_se"])
    # 84 z-scores; a half is allowed for the prior of the slopes and for the scatter.
    assert 0.5 < np.sqrt(np.mean(np.square(z))) < 1.5


def test_a_width_is_found(pretend):
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 2.0, composed, sd)
    found = el.certify(Workflow(), draws, study, n_studies=300, correct=True, seed=1)
    np.testing.assert_allclose(found.table["sd_ratio"], 0.5, rtol=0.2)
    # The exact mean, which knows more, may lie as far away as half of the width tells.
    np.testing.assert_allclose(found.table["bias_se"], np.sqrt(3.0), rtol=0.25)
    assert sum("too narrow" in s for s in found.sentences) == DIM
    sds = np.array(list(found.draws.sd.values())) / sd
    np.testing.assert_allclose(sds, 2.0, rtol=0.2)


def test_an_estimate_that_does_not_move_with_the_truth_is_no_knowledge(pretend):
    """The composed posterior is narrow, but says nothing: the prior is left."""
    composed, sd = PRIOR.means, 0.2 * PRIOR.sds
    draws, study = pretend(np.zeros(DIM), 0.0 * np.eye(DIM), 1.0, composed, sd)
    found = el.certify(Workflow(), draws, study, n_studies=400, seed=1)
    assert (found.table["sd_ratio"] < 0.5).all()


def test_a_time_limit_ends_it_early(pretend, monkeypatch):
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, PRIOR.means, 0.1 * PRIOR.sds)
    monkeypatch.setattr(certificate, "_BATCH_TRIALS", study.n_trials.sum())  # one study at once
    found = el.certify(Workflow(), draws, study, n_studies=500, time_limit=0.0, seed=1)
    assert found.n_studies == 20


def test_a_time_limit_is_looked_at_within_a_round(pretend):
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, PRIOR.means, 0.1 * PRIOR.sds)
    how = {"n_studies": 500, "rounds": 1, "seed": 1}
    assert el.certify(Workflow(), draws, study, time_limit=0.0, **how).n_studies == 20
    assert el.certify(Workflow(), draws, study, time_limit=600, **how).n_studies == 500


def test_it_ends_early_once_the_forecast_is_sure(pretend):
    """With noise of one sd the chance of R simulated studies is a little above 1 / sqrt(R)."""
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds
    used = {}
    for until in (0.4, 0.2, 0.02):
        draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, composed, sd)
        found = el.certify(Workflow(), draws, study, n_studies=200, until=until, seed=1)
        used[until] = found.n_studies
    assert used[0.4] == 25  # twenty in the first round, and a look into the second
    assert 1.0 / 0.2**2 <= used[0.2] <= 2.5 / 0.2**2
    assert used[0.02] == 200


def test_simulated_studies_have_the_design_of_the_study(monkeypatch):
    seen = []

    def compose(workflow, studies, **settings):
        seen.extend(studies)
        z = np.random.default_rng(1).standard_normal((settings["num_samples"], DIM))
        values = PRIOR.means + 0.1 * PRIOR.sds * z
        return [
            el.Draws(dict(zip(PRIOR.names, values.T, strict=True)), model=el.EAM) for _ in studies
        ]

    monkeypatch.setattr(certificate, "compose", compose)
    study = el.simulate(el.EAM, 3, [5, 12, 8], seed=1)
    draws = compose(Workflow(), [study], num_samples=50)[0]
    el.certify(Workflow(), draws, study, n_studies=20, seed=1)
    assert len(seen) == 21 and all(s.n_trials.tolist() == [5, 12, 8] for s in seen)
    assert not np.array_equal(seen[1].trials, seen[2].trials)


def test_terms_are_certified_in_their_own_groups(workflow):
    """Composed from 12 groups of unequal sizes, and not from the one that would be enough."""
    study = el.simulate(el.EAM, 66, 10, seed=4)
    chunks = (study[:33], study[33:])
    first, second = (el.summarize(workflow, c, group_size=11, progress=False) for c in chunks)
    terms = (first + second).without([0, 34], workflow, study)
    assert terms.sizes.tolist() != sorted(terms.sizes) and len(terms.sizes) == 6
    draws = el.compose(workflow, terms, num_samples=50, seed=1)
    design = []

    def compose(workflow, studies, **settings):
        design.append((settings["group_size"], studies[0].n_trials.tolist()))
        return [draws for _ in studies]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "compose", compose)
        el.certify(workflow, draws, terms, n_studies=20, seed=1)
    assert all(sizes == (11,) * 4 + (10,) * 2 for sizes, _ in design)
    scores = el.certify(workflow, draws, terms, method="score", n_studies=40, seed=1)
    # Information of groups of 66 people, six times, would be too narrow by half and more.
    assert scores.table["sd_ratio"].between(0.5, 1.6).all()


def test_people_of_unequal_groups_keep_their_trials(workflow):
    study = el.simulate(el.EAM, 9, list(range(5, 14)), seed=4)
    parts = [el.summarize(workflow, study[i:j]) for i, j in ((0, 2), (2, 5), (5, 7), (7, 9))]
    terms = certificate._equal_adjacent(sum(parts))
    assert terms.sizes.tolist() == [3, 2, 2, 2]
    assert terms.n_trials.tolist() == [7, 8, 9, 5, 6, 10, 11, 12, 13]
    np.testing.assert_array_equal(terms.summaries[1], parts[0].summaries[0])


def test_draws_of_another_study_workflow_or_method_are_refused(workflow):
    study, other = (el.simulate(el.EAM, 40, 10, seed=s, group={"mu_nu": 0.5}) for s in (4, 5))
    draws = el.compose(workflow, study, num_samples=50, seed=1, group_size=20, check=False)
    for wrong in (other, study[:20], el.summarize(workflow, other, group_size=20)):
        with pytest.raises(ValueError, match="draws: their .summaries are not those of this study"):
            el.certify(workflow, draws, wrong, n_studies=20)
    exact = el.Draws(dict(draws), model=el.EAM, settings={"em_dt": None, "seed": 1})
    with pytest.raises(ValueError, match="not from eamlab.compose"):
        el.certify(workflow, exact, study, n_studies=20)
    constant = el.Draws(dict(draws) | {"mu_nu": np.zeros(50)}, settings=draws.settings)
    with pytest.raises(ValueError, match="draws: all of some parameter are the same"):
        el.certify(workflow, constant, study, n_studies=20)
    thrown = {"mu_nu": 100.0 * np.linspace(-1.0, 1.0, 50)}
    diverged = el.Draws(dict(draws) | thrown, settings=draws.settings)
    with pytest.raises(
        ValueError, match=r"draws: those of \['mu_nu'\] are more than 3 times as wide"
    ):
        el.certify(workflow, diverged, study, n_studies=20)


def test_corrected_draws_that_are_certified_again_are_not_moved_twice(pretend):
    """The composed mean is what tells of the study; where the draws are now is another matter."""
    composed, sd = PRIOR.means, 0.02 * PRIOR.sds
    offset = np.full(DIM, 2.0)
    draws, study = pretend(offset, np.eye(DIM), 0.5, composed, sd)
    how = {"n_studies": 100, "correct": True}
    once = el.certify(Workflow(), draws, study, seed=1, **how)
    again = el.certify(Workflow(), once.draws, study, seed=2, **how)
    assert np.abs(once.table["bias"] - 2.0).max() < 0.3
    assert np.abs(again.table["bias"]).max() < 0.3
    assert again.sentences == []
    moved = (np.array(list(again.draws.mean.values())) - composed) / sd
    np.testing.assert_allclose(moved, -2.0, atol=0.3)


def table(bias, bias_se, sd_ratio=1.0):
    columns = {"bias": bias, "bias_se": bias_se, "sd_ratio": sd_ratio}
    return pd.DataFrame(columns, index=pd.Index(PRIOR.names, name="parameter"))


def test_sentences_say_what_is_more_than_chance():
    def said(n_studies=60, **columns):
        return certificate.Certificate(table(**columns), None, n_studies, 1.0).sentences

    noise = np.array([0.6, -0.3, 0.1, 0.0, -0.2, 0.3, 0.0])  # two standard errors at most
    assert said(bias=noise, bias_se=0.3) == []
    assert said(bias=noise * 3, bias_se=0.3) == [
        "mu_nu: about 1.8 sd too high, give or take 0.3.",
        "mu_log_alpha: about 0.9 sd too low, give or take 0.3.",
        "log_sigma_log_alpha: about 0.6 sd too low, give or take 0.3.",
        "log_sigma_log_t0: about 0.9 sd too high, give or take 0.3.",
    ]
    (one,) = said(bias=np.r_[1.0, np.zeros(6)], bias_se=np.r_[1.4, np.full(6, 0.3)])
    assert one == "mu_nu: by how much it is off cannot be told, give or take 1.4 sd."
    wide = {"bias": np.zeros(7), "bias_se": 0.3, "sd_ratio": np.r_[1.5, 0.65, np.ones(5)]}
    assert said(20, **wide) == []  # from 20 studies a width is known to a fifth
    assert said(60, **wide) == [
        "mu_nu: 1.5 times too wide.", "mu_log_alpha: 1.5 times too narrow."
    ]  # fmt: skip


def test_a_certificate_is_shown_with_its_sentences():
    fine = certificate.Certificate(table(np.full(7, 0.1), 0.3), None, 60, 1.0)
    said = "Nothing is off by more than half an sd, as far as 60 simulated studies tell."
    assert repr(fine).endswith(said) and f"<p>{said}</p>" in fine._repr_html_()
    off = certificate.Certificate(table(np.full(7, 2.0), 0.3), None, 60, 1.0)
    assert "beta_raw: about 2.0 sd too high, give or take 0.3." in repr(off)
    assert off._repr_html_().count("<p>") == 7


def test_few_studies_are_one_round(pretend):
    """A round of fewer studies than coefficients would send the next one anywhere."""
    counts = []
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, PRIOR.means, 0.1 * PRIOR.sds)
    made = certificate._composed_means

    def counted(workflow, draws, study, points, *others):
        counts.append(len(points))
        return made(workflow, draws, study, points, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "_composed_means", counted)
        for n_studies, rounds, wanted in (
            (20, 2, [16, 4]), (20, 30, [16, 1, 1, 1, 1]), (60, 2, [30, 30]), (25, 1, [25])
        ):  # fmt: skip
            el.certify(Workflow(), draws, study, n_studies=n_studies, rounds=rounds, seed=1)
            assert counts == wanted
            counts.clear()


def test_excess_scores_are_slopes_of_the_likelihood(workflow):
    """Of 12 groups of 20 people: the network's against differences of the exact log likelihood."""
    size, h, at = 20, 0.02, dict(zip(PRIOR.names, PRIOR.means, strict=True))
    study = el.simulate(el.EAM, 240, seed=4, group=at)
    draws = el.compose(workflow, study, num_samples=200, seed=1, group_size=size, check=False)
    z = PRIOR.standardize(draws.array)
    scores = certificate._excess_scores(workflow, z, draws.summaries)
    steps = np.concatenate([np.eye(DIM), -np.eye(DIM)]) * h
    around = PRIOR.to_dict(draws.array.mean(axis=0) + steps * PRIOR.sds)
    slopes = []
    for i in range(0, 240, size):
        up, down = log_likelihood(study[i : i + size], el.EAM, around).reshape(2, DIM)
        slopes.append((up - down) / (2 * h))
    off = (scores - slopes) / np.std(slopes, axis=0)
    assert np.sqrt(np.mean(off**2)) < 0.35  # of their spread over groups


def test_scores_say_of_draws_that_are_elsewhere_that_they_do_not_know(workflow):
    study = el.simulate(el.EAM, 600, seed=4)
    draws = el.compose(workflow, study, num_samples=200, seed=1, check=False)
    values = dict(draws)
    values["mu_log_alpha"] = values["mu_log_alpha"] + 3 * draws.sd["mu_log_alpha"]
    moved = el.Draws(
        values, model=el.EAM, settings=draws.settings, summaries=draws.summaries
    )  # fmt: skip
    how = {"method": "score", "n_studies": 40, "seed": 2, "progress": False}
    before, after = (el.certify(workflow, d, study, **how).table for d in (draws, moved))
    assert (before["bias_se"] < 0.7).all() and np.abs(before["bias"]).max() < 1.0
    assert after["bias_se"]["mu_log_alpha"] > 1.5
    assert abs(after["bias"]["mu_log_alpha"]) < 2 * after["bias_se"]["mu_log_alpha"]
    with pytest.raises(ValueError, match="draws: scores need their .summaries"):
        el.certify(workflow, el.Draws(values, settings=draws.settings), study, **how)


def test_scores_of_gaussian_groups_tell_bias_error_and_width(monkeypatch):
    """Excess scores with a known mean and covariance: all that is said has a closed form."""
    n_groups, rng, asked = 8, np.random.default_rng(3), []
    wanted, information = np.linspace(-1.0, 1.0, DIM), np.linspace(1.0, 4.0, DIM)
    left = np.linspace(3.0, 0.0, DIM)  # sum of the study's own scores, the prior's included

    def excess(workflow, z, summaries):
        asked.append(len(summaries))
        if len(asked) == 1:
            return np.tile((z.mean(axis=0) + left) / n_groups, (n_groups, 1))
        return wanted + rng.standard_normal((len(summaries), DIM)) * np.sqrt(information)

    monkeypatch.setattr(certificate, "_excess_scores", excess)
    monkeypatch.setattr(
        certificate, "summarize_groups", lambda _, blocks: np.zeros((sum(map(len, blocks)), 3))
    )
    values = PRIOR.means + 0.1 * PRIOR.sds * rng.standard_normal((300, DIM))
    draws = el.Draws(
        dict(zip(PRIOR.names, values.T, strict=True)), model=el.EAM, settings={"group_size": 1},
        summaries=np.zeros((n_groups, 3)),
    )  # fmt: skip
    study = el.Study([[[1, 0.5]] * 3] * n_groups)
    found = el.certify(Workflow(), draws, study, method="score", n_studies=300, seed=1).table
    assert sum(asked) == n_groups * 301
    precision = n_groups * information + 1.0
    unit = np.array([draws.sd[k] for k in PRIOR.names]) / PRIOR.sds
    off = n_groups * wanted / precision / unit
    chance = np.sqrt(n_groups * information / 300) / precision / unit
    np.testing.assert_allclose(found["sd_ratio"], unit * np.sqrt(precision), rtol=0.1)
    assert np.abs((found["bias"] - off) / chance).max() < 4.0  # 7: by chance once in 2,000
    told = np.sqrt(chance**2 + 0.25**2 + (left / precision / unit) ** 2)
    np.testing.assert_allclose(found["bias_se"], told, rtol=0.1)


def test_simulated_studies_have_the_conditions_of_this_one(monkeypatch):
    """Everybody did few of one condition, and one person none; the simulated people, too."""
    network, counts = el.load_pretrained("two-conditions"), [30, 40, 20, 25]
    study = el.simulate(el.TWO_CONDITIONS, 4, counts, seed=4, share=0.1)
    draws = el.compose(network, study, num_samples=30, seed=1, check=False)
    seen = []

    def simulate(*args, **options):
        seen.extend(el.simulate(*args, **options))
        return seen[-options["n_studies"] :]

    monkeypatch.setattr(certificate, "simulate", simulate)
    el.certify(network, draws, study, n_studies=24, rounds=1, seed=1)
    el.certify(network, draws, study, n_studies=60, method="score", seed=1)
    assert len(seen) == 84
    for one in seen:
        np.testing.assert_array_equal(one.trials[..., 2], study.trials[..., 2])
    terms = el.summarize(network, study, progress=False)
    with pytest.raises(ValueError, match="Terms do not say .* in which condition"):
        el.certify(network, draws, terms, n_studies=20, seed=1)


def test_scores_need_only_the_design_and_a_part_of_many_groups(workflow, monkeypatch):
    """Terms say who has how many trials. Of half of the groups the errors are larger."""
    study = el.simulate(el.EAM, 40, [10, 20, 30, 40] * 10, seed=4)
    terms = el.summarize(workflow, study, group_size=10, progress=False)
    draws = el.compose(workflow, study, num_samples=50, group_size=10, seed=1, check=False)
    how = {"method": "score", "n_studies": 60, "seed": 2}
    found = el.certify(workflow, draws, terms, **how)
    np.testing.assert_array_equal(found.table, el.certify(workflow, draws, study, **how).table)
    designs = []

    def simulate(model, n_subjects, n_trials, **options):
        designs.append(n_trials)
        return el.simulate(model, n_subjects, n_trials, **options)

    monkeypatch.setattr(certificate, "simulate", simulate)
    monkeypatch.setattr(certificate, "_BATCH_TRIALS", 600)  # of 1,000
    part = el.certify(workflow, draws, study, **how)
    assert all(design == study.n_trials[:20].tolist() for design in designs)
    assert part.table["bias_se"].median() > found.table["bias_se"].median()
    np.testing.assert_allclose(part.table["sd_ratio"], found.table["sd_ratio"], rtol=0.5)
    with pytest.raises(ValueError, match="n_studies must be .* 60"):
        one = el.compose(workflow, study, num_samples=50, seed=1, check=False)
        el.certify(workflow, one, study, method="score", n_studies=59)


def test_a_study_larger_than_a_batch_is_simulated_whole(pretend, monkeypatch):
    draws, study = pretend(np.zeros(DIM), np.eye(DIM), 1.0, PRIOR.means, 0.1 * PRIOR.sds)
    monkeypatch.setattr(certificate, "_BATCH_TRIALS", 5)  # of twelve trials
    assert el.certify(Workflow(), draws, study, n_studies=30, seed=1).n_studies == 30


def test_more_parameters_need_more_studies(monkeypatch):
    """Twenty points do not fit the 21 coefficients of a regression on twenty parameters."""
    names, rng = [f"mu_{i}" for i in range(20)], np.random.default_rng(1)
    prior = el.GroupPrior(tuple(el.GroupParameter(k, k, 0.0, 1.0, k) for k in names))
    workflow = Workflow()
    workflow.model = replace(el.EAM, prior=prior, people=())

    def composed_means(workflow, draws, study, points, *_):
        return points + 0.1 * (1.0 + rng.standard_normal(points.shape))

    monkeypatch.setattr(certificate, "_composed_means", composed_means)
    values = 0.1 * rng.standard_normal((20, 42))
    draws, fewer = (
        el.Draws(dict(zip(names, v, strict=True)), model=workflow.model)
        for v in (values, values[:, :41])
    )
    study = el.Study([[[1, 0.5]] * 3] * 4)
    with pytest.raises(ValueError, match="n_studies must be an integer of at least 42, got 41"):
        el.certify(workflow, draws, study, n_studies=41)
    with pytest.raises(ValueError, match="draws: a certificate needs at least 42, got 41"):
        el.certify(workflow, fewer, study)
    found = el.certify(workflow, draws, study, n_studies=42, time_limit=0, seed=1)
    z = (found.table["bias"] - 0.1 / draws.array.std(axis=0, ddof=1)) / found.table["bias_se"]
    assert np.sqrt(np.mean(z**2)) < 2.0 and found.n_studies == 42


@pytest.mark.parametrize(
    "options",
    [
        *({"n_studies": 3}, {"rounds": 0}, {"n_studies": True}, {"until": 0.0}),
        *({"until": True}, {"until": "a"}, {"time_limit": -1.0}, {"time_limit": "a"}),
        *({"correct": "no"},),
        *({"method": "scores"}, {"rounds": 3, "method": "score"}),
    ],
)
def test_counts_that_cannot_work_are_refused(options):
    study = el.simulate(el.EAM, 3, 5, seed=1)
    draws = el.Draws({k: v[:, 0] for k, v in PRIOR.sample(20, np.random.default_rng(1)).items()})
    with pytest.raises(ValueError, match=next(iter(options))):
        el.certify(Workflow(), draws, study, **options)


@pytest.mark.slow
def test_certificates_mend_what_the_networks_do_to_a_thousand_people():
    """Bias of a composed posterior of 1,000 people: smaller after the correction, in rms."""
    from eamlab_book.studies import load_studies

    stored, workflow = load_studies(1000), el.load_pretrained("global")
    before, after = [], []
    for i, study in enumerate(stored.studies):
        draws = el.compose(workflow, study, num_samples=200, seed=1, check=False)
        found = el.certify(workflow, draws, study, correct=True, seed=5, progress=False)
        for made, kept in ((draws, before), (found.draws, after)):
            kept.append([(made.mean[k] - stored.mean[k][i]) / stored.sd[k][i] for k in PRIOR.names])
    assert np.sqrt(np.mean(np.square(after))) < np.sqrt(np.mean(np.square(before)))
