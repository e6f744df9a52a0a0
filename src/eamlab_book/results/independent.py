"""The exact posterior against software that is not ours.

The same hierarchical model is written in PyMC, with the Wiener first-passage likelihood of HSSM,
and sampled by NumPyro's NUTS: group and subject parameters together, nothing integrated out. Only
the data and the numbers in the prior come from this project. `make_independent` does so for studies
of the tutorial's model, and stores both sides; `make_real` for real trials under the laboratory's
prior, in one condition or two, and stores the side that is not ours.

It does not depend on HSSM, PyMC and NumPyro; they go into an environment of their own::

    python3.12 -m venv independent
    independent/bin/pip install hssm numpyro --editable .
    PYTHONPATH=src independent/bin/python -m eamlab_book.results independent
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from eamlab.model.density import log_density
from eamlab.model.model import Model
from eamlab.reference.posterior import exact
from eamlab.study import Study
from eamlab_book.report_card import ComparisonSettings, IndependentSettings, RealSettings
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.studies import DemoSettings, fingerprint, load_cavanagh, simulate_demo

PACKAGES = ("hssm", "pymc", "numpyro")


# --------------------------------------------------------------------------------------------------
# The likelihood
# --------------------------------------------------------------------------------------------------


def hssm_log_density(
    rt: Any, choice: Any, nu: Any, alpha: Any, t0: Any, beta: Any, series_terms: int
) -> Any:
    """Return HSSM's log density as a tensor, in our parameters.

    There, ``a`` is half the separation and the lower bound is -1; ``z`` is relative as ours is.
    """
    import pytensor.tensor as pt
    from hssm.likelihoods.analytical import logp_ddm

    data = pt.stack([pt.as_tensor(rt), pt.as_tensor(2.0 * choice - 1.0)], axis=1)
    return logp_ddm(data, nu, alpha / 2.0, beta, t0, k_terms=series_terms)


def greatest_difference(model: Model, settings: ComparisonSettings) -> float:
    """Largest difference of the two log densities, subjects from the prior, times not extreme."""
    rng, n = np.random.default_rng(settings.points_seed), settings.points
    group = model.prior.sample(n, rng)
    nu, alpha, t0 = (x[:, 0] for x in model.sample_people(group, 1, rng).values())
    beta = _beta(model, group["beta_raw"])[:, 0]
    # In units of alpha squared: from 2 % to beyond what a study holds.
    rt = t0 + alpha**2 * np.exp(rng.uniform(np.log(0.02), np.log(5.0), n))
    choice = rng.integers(0, 2, n).astype(float)
    theirs = hssm_log_density(rt, choice, nu, alpha, t0, beta, settings.series_terms).eval()
    return float(np.abs(theirs - log_density(rt, choice, nu, alpha, t0, beta)).max())


def _start(model: Model) -> Any:
    """Return the prior of beta: beta_raw is a function of it."""
    concentration = model.constants["beta_concentration"]
    return stats.beta(concentration, concentration)


def _beta(model: Model, beta_raw: Any) -> Any:
    return _start(model).ppf(stats.norm.cdf(beta_raw))


# --------------------------------------------------------------------------------------------------
# The model
# --------------------------------------------------------------------------------------------------


def build_model(
    study: Study, model: Model, series_terms: int, centered: Sequence[str], lapse: float = 0.0,
    share: float = 0.0,
) -> Any:  # fmt: skip
    """Return the hierarchical model in PyMC.

    `share` of the trials are lapses, whose density is `lapse`, as HSSM has them.
    """
    import pymc as pm

    choice, rt, *code = np.concatenate(study.by_subject).T.astype(float)
    subject = np.repeat(np.arange(len(study)), study.n_trials)
    concentration = model.constants["beta_concentration"]
    with pm.Model() as written:
        normal = [p for p in model.prior.parameters if p.name != "beta_raw"]
        group = {p.name: pm.Normal(p.name, p.mean, p.sd) for p in normal}
        beta = pm.Beta("beta", concentration, concentration)
        people = subject_parameters(group, model, len(study), centered)
        nu, alpha, t0, *changes = (x[subject] for x in people)
        if code:
            nu, alpha = nu + code[0] * changes[0], alpha * pm.math.exp(code[0] * changes[1])
        trials = hssm_log_density(rt, choice, nu, alpha, t0, beta, series_terms)
        if share:
            trials = pm.math.logaddexp(
                np.log1p(-share) + trials, np.full(len(rt), np.log(share * lapse))
            )
        pm.Potential("trials", trials.sum())
    return written


def subject_parameters(
    group: dict[str, Any], model: Model, n_subjects: int, centered: Sequence[str]
) -> list[Any]:
    """Return variables of all subjects' parameters in the model's order, inside its context.

    Those that trials say much more about than the population does are centered: otherwise NUTS
    would need steps ten times shorter.
    """
    import pymc as pm

    people = []
    for p in model.people:
        name, spread = p.mean.removeprefix("mu_"), pm.math.exp(group[p.log_sd])
        if p.name in centered:
            x = pm.Normal(name, group[p.mean], spread, shape=n_subjects)
        else:
            x = group[p.mean] + spread * pm.Normal(f"z_{name}", shape=n_subjects)
        people.append(pm.math.exp(x) if p.positive else x)
    return people


def starts(
    study: Study, model: Model, chains: int, seed: int, centered: Sequence[str], width: float = 1.0
) -> list[dict[str, Any]]:
    """Return one point per chain, from the prior, but t0 before each subject's first response.

    `width` scales the sds of the group's prior.
    """
    rng = np.random.default_rng(seed)
    first = np.array([a[:, 1].min() for a in study.by_subject], dtype=float)

    def point() -> dict[str, Any]:
        drawn = model.prior.sample(1, rng)
        group = {k: p + width * (float(drawn[k][0, 0]) - p) for k, p in means.items()}
        people = {}
        for p in model.people:
            name, z = p.mean.removeprefix("mu_"), rng.standard_normal(len(first))
            if p.name in centered:
                people[name] = group[p.mean] + np.exp(group[p.log_sd]) * z
            else:
                people[f"z_{name}"] = z
        people["log_t0"] = np.log(rng.uniform(0.3, 0.7, len(first)) * first)
        beta = float(_beta(model, group.pop("beta_raw")))
        return group | people | {"beta": beta}

    means = {p.name: p.mean for p in model.prior.parameters}
    return [point() for _ in range(chains)]


def sample(
    written: Any, settings: IndependentSettings | RealSettings, initial: Any, **options: Any
) -> Any:
    """Return draws of NumPyro's NUTS, one chain per virtual device."""
    import numpyro
    from pymc.sampling.jax import sample_numpyro_nuts

    numpyro.set_host_device_count(settings.chains)
    return sample_numpyro_nuts(
        settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        target_accept=settings.target_accept,
        random_seed=settings.sampler_seed,
        initvals=initial,
        jitter=False,
        model=written,
        compute_convergence_checks=False,
        nuts_kwargs=options,
    )


# --------------------------------------------------------------------------------------------------
# The comparison
# --------------------------------------------------------------------------------------------------


def group_chains(posterior: Any, model: Model) -> dict[str, np.ndarray]:
    """Return group parameters by name, each (chains, draws)."""
    chains = {k: np.asarray(posterior[k]) for k in model.prior.names if k != "beta_raw"}
    beta = _start(model).cdf(np.asarray(posterior["beta"]))
    return chains | {"beta_raw": stats.norm.ppf(beta)}


def independent_summary(x: np.ndarray) -> dict[str, float]:
    """Return moments of one parameter (chains, draws), their standard errors and diagnostics."""
    import arviz as az

    return {
        "mean": float(x.mean()),
        "sd": float(x.std()),
        "mean_se": float(az.mcse(x, method="mean")),
        "sd_se": float(az.mcse(x, method="sd")),
        "r_hat": float(az.rhat(x)),
        "ess": float(min(az.ess(x), az.ess(x, method="sd"))),
    }


def exact_summary(key: Any, name: str) -> dict[str, float]:
    """Return moments of ours; its one effective sample size is that of the slowest parameter.

    With importance sampling, squares weigh the tails more than that size knows: repeated runs show
    that the standard error of a skewed parameter's sd is then up to twice what is given here.
    """
    sd, ess = key.sd[name], key.diagnostics["ess"]
    spread = stats.kurtosis(key[name], fisher=False) - 1.0
    return {
        "mean": key.mean[name],
        "sd": sd,
        "mean_se": sd / np.sqrt(ess),
        "sd_se": sd * np.sqrt(spread / (4.0 * ess)),
    }


def compared(ours: dict[str, float], other: dict[str, float]) -> dict[str, Any]:
    """Return one parameter: both, their difference in exact sds, their ratio of sds."""
    sd, ratio = ours["sd"], other["sd"] / ours["sd"]
    ratio_se = np.hypot(ours["sd_se"] / sd, other["sd_se"] / other["sd"]) * ratio
    return {
        "exact": ours,
        "independent": other,
        "difference": (other["mean"] - ours["mean"]) / sd,
        "difference_se": float(np.hypot(ours["mean_se"], other["mean_se"]) / sd),
        "sd_ratio": ratio,
        "sd_ratio_se": float(ratio_se),
    }


def compare(
    workshop: Workshop, settings: IndependentSettings, demo: DemoSettings, series_terms: int
) -> dict[str, Any]:
    """Sample one study both ways."""
    model, study = workshop.model, simulate_demo(demo, model=workshop.model)
    began = time.perf_counter()
    key = exact(study, model, settings.num_samples, seed=settings.seed, progress=False)
    between = time.perf_counter()
    if key.warnings:
        raise RuntimeError(f"not stored: {key.warnings}")
    centered = ("t0",)
    initial = starts(study, model, settings.chains, settings.sampler_seed, centered)
    trace = sample(build_model(study, model, series_terms, centered), settings, initial)
    ended = time.perf_counter()
    chains = group_chains(trace.posterior, model)
    return {
        "settings": vars(settings),
        "fingerprint": fingerprint([study]),
        "method": key.diagnostics["method"],
        "exact_ess": key.diagnostics["ess"],
        "divergences": int(np.asarray(trace.sample_stats["diverging"]).sum()),
        "exact_seconds": round(between - began, 1),
        "independent_seconds": round(ended - between, 1),
        "parameters": {
            k: compared(exact_summary(key, k), independent_summary(x)) for k, x in chains.items()
        },
    }


def make_independent(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the check of the likelihood, and the comparisons."""
    chosen: ComparisonSettings = result.settings
    one, pairs = workshop.remember(compare), zip(chosen.studies, chosen.demos, strict=True)
    # First: chains run side by side only if nothing has started jax.
    studies = [one(study, demo, chosen.series_terms) for study, demo in pairs]
    greatest = greatest_difference(workshop.model, chosen)
    return {"log_density": {"greatest_difference": greatest}, "studies": studies}


def make_real(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the posterior of real trials by the sampler that is not ours."""
    chosen: RealSettings = result.settings
    model = workshop.model
    study = load_cavanagh(bool(model.conditions))
    written = build_model(
        study, model, chosen.series_terms, chosen.centered, 1 / chosen.lapse_time, chosen.lapses
    )
    initial = starts(
        study, model, chosen.chains, chosen.sampler_seed, chosen.centered, chosen.start_width
    )
    began = time.perf_counter()
    trace = sample(written, chosen, initial, max_tree_depth=chosen.tree_depth)
    return {
        "fingerprint": fingerprint([study]),
        "divergences": int(np.asarray(trace.sample_stats["diverging"]).sum()),
        "independent_seconds": round(time.perf_counter() - began, 1),
        "parameters": {
            k: independent_summary(x) for k, x in group_chains(trace.posterior, model).items()
        },
    }
