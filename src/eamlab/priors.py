"""The hierarchical prior: seven group parameters, declared once, and the subjects they generate.

Everything that needs a prior mean, a prior sd, a symbol or a parameter order takes it from
``GROUP_PRIOR``; the tables of the book are rendered from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

__all__ = [
    "BETA_CONCENTRATION",
    "GROUP_PRIOR",
    "SUBJECT_NAMES",
    "GroupParameter",
    "GroupPrior",
    "beta_from_raw",
    "sample_subjects",
]

BETA_CONCENTRATION = 50.0
"""Both shape parameters of the Beta prior of the relative starting point."""

SUBJECT_NAMES = ("nu", "alpha", "t0")
"""Parameters that differ between subjects: drift, boundary separation, non-decision time (s)."""


@dataclass(frozen=True)
class GroupParameter:
    """One group parameter and its normal prior N(mean, sd)."""

    name: str
    symbol: str
    mean: float
    sd: float
    meaning: str


@dataclass(frozen=True)
class GroupPrior:
    """Independent normal priors of the group parameters.

    Methods accept a mapping ``{name: array}`` (BayesFlow's form; the arrays may be NumPy arrays or
    tensors of any Keras backend) or one array whose last axis holds the parameters in the order of
    :attr:`names`, and return the form they were given.
    """

    parameters: tuple[GroupParameter, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in their one and only order."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def means(self) -> np.ndarray:
        """Prior means, shape (7,)."""
        return np.array([p.mean for p in self.parameters])

    @cached_property
    def sds(self) -> np.ndarray:
        """Prior standard deviations, shape (7,)."""
        return np.array([p.sd for p in self.parameters])

    def __getitem__(self, name: str) -> GroupParameter:
        self._check_names([name])
        return self.parameters[self.names.index(name)]

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw `n` sets of group parameters.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        dict of str to ndarray, each of shape (n, 1)
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        draws = self.means + self.sds * rng.standard_normal((n, len(self.parameters)))
        return self.to_dict(draws)

    def log_prob(self, x: Mapping[str, Any] | np.ndarray) -> np.ndarray:
        r"""Log prior density :math:`\sum_i \log N(x_i; m_i, s_i^2)`, summed over the parameters.

        Parameters
        ----------
        x : mapping of name to array (..., 1) or array (..., 7)

        Returns
        -------
        ndarray of shape (...)
        """
        x = self.to_array(x) if isinstance(x, Mapping) else self._check_last_axis(x)
        return stats.norm.logpdf(x, self.means, self.sds).sum(axis=-1)

    def score(self, x: Mapping[str, Any] | np.ndarray) -> Any:
        r"""Score of the prior, :math:`\nabla \log p(x)_i = -(x_i - m_i) / s_i^2`.

        The mapping form uses plain arithmetic only, so it runs inside BayesFlow's compiled sampling
        loop on tensors as well as on NumPy arrays.

        Parameters
        ----------
        x : mapping of name to array or tensor, or array (..., 7)

        Returns
        -------
        Same form and shape as `x`.
        """
        return self.diffused_score(x, 1.0, 0.0)

    def diffused_score(self, x: Mapping[str, Any] | np.ndarray, alpha_t: Any, sigma_t: Any) -> Any:
        r"""Score of the prior after diffusion to signal level `alpha_t` and noise level `sigma_t`.

        If :math:`x_0 \sim N(m, s^2)` then :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon` has the
        density :math:`N(\alpha_t m, (\alpha_t s)^2 + \sigma_t^2)`, hence the score
        :math:`-(x_t - \alpha_t m) / ((\alpha_t s)^2 + \sigma_t^2)`.

        Parameters
        ----------
        x : mapping of name to array or tensor, or array (..., 7)
            The *diffused* parameters, in the prior's own (raw) coordinates.
        alpha_t, sigma_t : float, array or tensor
            Signal and noise level, broadcastable against each array of `x`.

        Returns
        -------
        Same form and shape as `x`.
        """
        if isinstance(x, Mapping):
            self._check_names(x)
            return {
                k: -(v - alpha_t * self[k].mean) / ((alpha_t * self[k].sd) ** 2 + sigma_t**2)
                for k, v in x.items()
            }
        x = self._check_last_axis(x)
        return -(x - alpha_t * self.means) / ((alpha_t * self.sds) ** 2 + sigma_t**2)

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Map an array (..., 7) to prior z-scores."""
        return (self._check_last_axis(x) - self.means) / self.sds

    def to_array(self, x: Mapping[str, Any]) -> np.ndarray:
        """Stack ``{name: (..., 1)}`` (or ``(...)``) into one float64 array (..., 7).

        Other entries, such as the subjects and trials of a simulated study, are left out.
        """
        missing = [k for k in self.names if k not in x]
        if missing:
            raise ValueError(f"group parameters are missing: {missing}; needed are {self.names}.")
        columns = [np.asarray(x[k], dtype=float) for k in self.names]
        if columns[0].ndim > 0 and all(c.shape[-1] == 1 for c in columns):
            columns = [c[..., 0] for c in columns]
        return np.stack(columns, axis=-1)

    def to_dict(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Split an array (..., 7) into ``{name: (..., 1)}``."""
        x = self._check_last_axis(x)
        return {k: x[..., i : i + 1] for i, k in enumerate(self.names)}

    def table(self) -> pd.DataFrame:
        """Return the prior as a table, one row per parameter, for the book."""
        columns = {"symbol": "symbol", "mean": "prior mean", "sd": "prior sd", "meaning": "meaning"}
        rows = [{label: getattr(p, k) for k, label in columns.items()} for p in self.parameters]
        return pd.DataFrame(rows, index=pd.Index(self.names, name="name"))

    def _check_names(self, names: Any) -> None:
        unknown = [k for k in names if k not in self.names]
        if unknown:
            raise ValueError(f"unknown group parameters {unknown}; known are {self.names}.")

    def _check_last_axis(self, x: Any) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        if x.ndim < 1 or x.shape[-1] != len(self.parameters):
            raise ValueError(
                f"x must have a last axis of {len(self.parameters)} group parameters in the order "
                f"{self.names}, got shape {x.shape}."
            )
        return x


GROUP_PRIOR = GroupPrior(
    (
        GroupParameter("mu_nu", r"\mu_\nu", 0.5, 0.3, "mean drift rate of the population"),
        GroupParameter(
            "mu_log_alpha", r"\mu_{\log\alpha}", 0.0, 0.05, "mean log boundary separation"
        ),
        GroupParameter(
            "mu_log_t0", r"\mu_{\log t_0}", -1.0, 0.3, "mean log non-decision time (log s)"
        ),
        GroupParameter(
            "log_sigma_nu", r"\log\sigma_\nu", -1.0, 1.0, "log sd of drift rates between subjects"
        ),
        GroupParameter(
            "log_sigma_log_alpha",
            r"\log\sigma_{\log\alpha}",
            -3.0,
            1.0,
            "log sd of log boundary separations",
        ),
        GroupParameter(
            "log_sigma_log_t0",
            r"\log\sigma_{\log t_0}",
            -1.0,
            0.3,
            "log sd of log non-decision times",
        ),
        GroupParameter(
            "beta_raw", r"\beta_\mathrm{raw}", 0.0, 1.0, "starting point, on the normal scale"
        ),
    )
)
"""The prior of the model: names, symbols, means and sds of the seven group parameters."""


def beta_from_raw(beta_raw: Any) -> np.ndarray:
    r"""Map `beta_raw` ~ N(0, 1) to the relative starting point beta ~ Beta(50, 50).

    The probability integral transform :math:`\beta = F^{-1}_{\mathrm{Beta}(50,50)}(\Phi(x))` gives
    beta exactly its Beta prior while the sampler only ever sees an unbounded normal variable.

    Parameters
    ----------
    beta_raw : array_like
        Values on the real line.

    Returns
    -------
    ndarray of the same shape, inside (0, 1).
    """
    x = np.asarray(beta_raw, dtype=float)
    # Phi is evaluated in the lower tail on both sides: 1 - Phi(9) would round to 0.
    lower = stats.beta.ppf(stats.norm.cdf(-np.abs(x)), BETA_CONCENTRATION, BETA_CONCENTRATION)
    return np.where(x > 0, 1.0 - lower, lower)


def sample_subjects(
    group: Mapping[str, Any], n_subjects: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw subjects from the population that `group` describes.

    Parameters
    ----------
    group : mapping of name to array (n, 1)
        The group parameters of n studies; ``beta_raw`` is shared by all subjects and not needed.
    n_subjects : int
        Subjects per study.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    dict with "nu", "alpha" and "t0" (s), each of shape (n, n_subjects).
    """
    if n_subjects < 1:
        raise ValueError(f"n_subjects must be at least 1, got {n_subjects}.")

    def draw(mu: str, log_sigma: str) -> np.ndarray:
        mean = np.reshape(np.asarray(group[mu], dtype=float), (-1, 1))
        sd = np.exp(np.reshape(np.asarray(group[log_sigma], dtype=float), (-1, 1)))
        return mean + sd * rng.standard_normal((mean.shape[0], n_subjects))

    return {
        "nu": draw("mu_nu", "log_sigma_nu"),
        "alpha": np.exp(draw("mu_log_alpha", "log_sigma_log_alpha")),
        "t0": np.exp(draw("mu_log_t0", "log_sigma_log_t0")),
    }
