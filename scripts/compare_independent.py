"""The exact posterior against software that is not ours: `src/eamlab/data/independent.json`.

    python scripts/compare_independent.py [--subjects J ...] [--out FILE]

The same hierarchical model is written in PyMC, with the Wiener first-passage likelihood of HSSM,
and sampled by NumPyro's NUTS: group and subject parameters together, nothing integrated out. Only
the data and the numbers in the prior come from this package. The demonstration studies of 10 and
100 subjects are compared; those not asked for keep their entries.

This project does not depend on HSSM, PyMC and NumPyro; they go into an environment of their own,
together with this package:

    python3.12 -m venv independent
    independent/bin/pip install hssm numpyro .
    independent/bin/python scripts/compare_independent.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import eamlab as el
from eamlab.demo import DemoSettings, fingerprint, simulate_demo
from eamlab.grades import INDEPENDENT, IndependentSettings
from eamlab.priors import BETA_CONCENTRATION

FILE = Path(__file__).resolve().parents[1] / "src" / "eamlab" / "data" / "independent.json"
PACKAGES = ("hssm", "pymc", "pytensor", "numpyro", "jax", "arviz-stats", "numpy", "scipy", "numba")
N_POINTS, POINTS_SEED = 10_000, 7
# Half of HSSM's default: the error stays below 1e-8 (see `greatest_difference`), in half the time.
SERIES_TERMS = 10


# --------------------------------------------------------------------------------------------------
# The likelihood
# --------------------------------------------------------------------------------------------------


def hssm_log_density(rt: Any, choice: Any, nu: Any, alpha: Any, t0: Any, beta: Any) -> Any:
    """HSSM's log density as a tensor, in our parameters.

    There, ``a`` is half the separation and the lower bound is -1; ``z`` is relative as ours is.
    """
    import pytensor.tensor as pt
    from hssm.likelihoods.analytical import logp_ddm

    data = pt.stack([pt.as_tensor(rt), pt.as_tensor(2.0 * choice - 1.0)], axis=1)
    return logp_ddm(data, nu, alpha / 2.0, beta, t0, k_terms=SERIES_TERMS)


def greatest_difference() -> float:
    """Largest difference of the two log densities, subjects from the prior, times not extreme."""
    rng = np.random.default_rng(POINTS_SEED)
    group = el.GROUP_PRIOR.sample(N_POINTS, rng)
    nu, alpha, t0 = (x[:, 0] for x in el.sample_subjects(group, 1, rng).values())
    beta = el.beta_from_raw(group["beta_raw"])[:, 0]
    # In units of alpha squared: from 2 % to beyond what a study holds.
    rt = t0 + alpha**2 * np.exp(rng.uniform(np.log(0.02), np.log(5.0), N_POINTS))
    choice = rng.integers(0, 2, N_POINTS).astype(float)
    theirs = hssm_log_density(rt, choice, nu, alpha, t0, beta).eval()
    return float(np.abs(theirs - el.log_density(rt, choice, nu, alpha, t0, beta)).max())


# --------------------------------------------------------------------------------------------------
# The model
# --------------------------------------------------------------------------------------------------


def build_model(sim_data: np.ndarray) -> Any:
    """The hierarchical model of `eamlab.priors` in PyMC."""
    import pymc as pm

    choice, rt = sim_data.reshape(-1, 2).T.astype(float)
    subject = np.repeat(np.arange(len(sim_data)), sim_data.shape[1])
    with pm.Model() as model:
        # beta itself has a Beta prior; beta_raw is a function of it.
        group = {p.name: pm.Normal(p.name, p.mean, p.sd) for p in el.GROUP_PRIOR.parameters[:6]}
        beta = pm.Beta("beta", BETA_CONCENTRATION, BETA_CONCENTRATION)
        nu, alpha, t0 = (x[subject] for x in subject_parameters(group, len(sim_data)))
        pm.Potential("trials", hssm_log_density(rt, choice, nu, alpha, t0, beta).sum())
    return model


def subject_parameters(group: dict[str, Any], n_subjects: int) -> tuple[Any, Any, Any]:
    """Variables nu, alpha and t0 of all subjects, inside the model's context.

    Drift and boundary are non-centered. t0 is centered: 30 trials say much more about it than the
    population does, and non-centered NUTS would need steps ten times shorter.
    """
    import pymc as pm

    def non_centered(name: str) -> Any:
        z = pm.Normal(f"z_{name}", shape=n_subjects)
        return group[f"mu_{name}"] + pm.math.exp(group[f"log_sigma_{name}"]) * z

    spread = pm.math.exp(group["log_sigma_log_t0"])
    log_t0 = pm.Normal("log_t0", group["mu_log_t0"], spread, shape=n_subjects)
    return non_centered("nu"), pm.math.exp(non_centered("log_alpha")), pm.math.exp(log_t0)


def starts(sim_data: np.ndarray, settings: IndependentSettings) -> list[dict[str, Any]]:
    """One point per chain: drawn from the prior, but t0 before each subject's first response."""
    rng = np.random.default_rng(settings.sampler_seed)
    first = sim_data[..., 1].min(axis=1).astype(float)

    def point() -> dict[str, Any]:
        group = {k: float(v[0, 0]) for k, v in el.GROUP_PRIOR.sample(1, rng).items()}
        log_t0 = np.log(rng.uniform(0.3, 0.7, len(first)) * first)
        z = {f"z_{k}": rng.standard_normal(len(first)) for k in ("nu", "log_alpha")}
        beta = float(el.beta_from_raw(group.pop("beta_raw")))
        return group | z | {"log_t0": log_t0, "beta": beta}

    return [point() for _ in range(settings.chains)]


def sample(sim_data: np.ndarray, settings: IndependentSettings) -> Any:
    """Draws of NumPyro's NUTS, one chain per virtual device."""
    import numpyro
    from pymc.sampling.jax import sample_numpyro_nuts

    numpyro.set_host_device_count(settings.chains)
    return sample_numpyro_nuts(
        settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        target_accept=settings.target_accept,
        random_seed=settings.sampler_seed,
        initvals=starts(sim_data, settings),
        jitter=False,
        model=build_model(sim_data),
        compute_convergence_checks=False,
    )


# --------------------------------------------------------------------------------------------------
# The comparison
# --------------------------------------------------------------------------------------------------


def group_chains(posterior: Any) -> dict[str, np.ndarray]:
    """Group parameters by name, each (chains, draws)."""
    chains = {k: np.asarray(posterior[k]) for k in el.GROUP_PRIOR.names[:6]}
    start = stats.beta(BETA_CONCENTRATION, BETA_CONCENTRATION)
    return chains | {"beta_raw": stats.norm.ppf(start.cdf(np.asarray(posterior["beta"])))}


def independent_summary(x: np.ndarray) -> dict[str, float]:
    """Moments of one parameter (chains, draws) with their standard errors and diagnostics."""
    import arviz as az

    return {
        "mean": float(x.mean()),
        "sd": float(x.std()),
        "mean_se": float(az.mcse(x, method="mean")),
        "sd_se": float(az.mcse(x, method="sd")),
        "r_hat": float(az.rhat(x)),
        "ess": float(min(az.ess(x), az.ess(x, method="sd"))),
    }


def exact_summary(exact: Any, name: str) -> dict[str, float]:
    """Moments of ours; its one effective sample size is that of the slowest parameter.

    With importance sampling, squares weigh the tails more than that size knows: repeated runs show
    that the standard error of a skewed parameter's sd is then up to twice what is given here.
    """
    sd, draws = exact.sd[name], exact.samples[name]
    spread = stats.kurtosis(draws, fisher=False) - 1.0
    return {
        "mean": exact.mean[name],
        "sd": sd,
        "mean_se": sd / np.sqrt(exact.ess),
        "sd_se": sd * np.sqrt(spread / (4.0 * exact.ess)),
    }


def compared(exact: dict[str, float], other: dict[str, float]) -> dict[str, Any]:
    """One parameter: both, their difference in exact sds, their ratio of sds."""
    sd, ratio = exact["sd"], other["sd"] / exact["sd"]
    ratio_se = np.hypot(exact["sd_se"] / sd, other["sd_se"] / other["sd"]) * ratio
    return {
        "exact": exact,
        "independent": other,
        "difference": (other["mean"] - exact["mean"]) / sd,
        "difference_se": float(np.hypot(exact["mean_se"], other["mean_se"]) / sd),
        "sd_ratio": ratio,
        "sd_ratio_se": float(ratio_se),
    }


def compare(settings: IndependentSettings) -> dict[str, Any]:
    """Sample one study both ways."""
    data = simulate_demo(DemoSettings(settings.n_subjects))["sim_data"]
    began = time.perf_counter()
    exact = el.exact_posterior(data, settings.num_samples, seed=settings.seed, progress=False)
    between = time.perf_counter()
    trace = sample(data, settings)
    ended = time.perf_counter()
    chains = group_chains(trace.posterior)
    return {
        "settings": asdict(settings),
        "fingerprint": fingerprint(data),
        "method": exact.method,
        "exact_ess": exact.ess,
        "divergences": int(np.asarray(trace.sample_stats["diverging"]).sum()),
        "exact_seconds": round(between - began, 1),
        "independent_seconds": round(ended - between, 1),
        "parameters": {
            k: compared(exact_summary(exact, k), independent_summary(x)) for k, x in chains.items()
        },
    }


def card(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file holds: the check of the likelihood, versions, and the studies."""
    points = {"points": N_POINTS, "seed": POINTS_SEED, "series_terms": SERIES_TERMS}
    points |= {"greatest_difference": greatest_difference()}
    versions = {k: version(k) for k in PACKAGES} | {"eamlab": el.__version__}
    return {"log_density": points, "versions": versions, "studies": rows}


def main() -> None:
    sizes = [s.n_subjects for s in INDEPENDENT]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", choices=sizes, default=sizes)
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    warnings.simplefilter("error", el.reference.ReferenceWarning)
    old = json.loads(args.out.read_text())["studies"] if args.out.exists() else []
    rows = {row["settings"]["n_subjects"]: row for row in old}
    for settings in INDEPENDENT:
        if settings.n_subjects in args.subjects:
            rows[settings.n_subjects] = compare(settings)
            scratch = args.out.with_suffix(".tmp")
            scratch.write_text(json.dumps(card([rows[k] for k in sorted(rows)]), indent=1) + "\n")
            os.replace(scratch, args.out)


if __name__ == "__main__":
    main()
