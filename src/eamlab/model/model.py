"""What a hierarchical model is: a prior of group parameters, people drawn from it, trials of each.

Everything that needs a name, an order, a prior mean or a prior sd takes it from a `Model`. A model
is a value: it stands in every workflow, card, checkpoint and stored result as its `fingerprint`,
and what was made with another one is refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Seed = int | np.random.SeedSequence | np.random.Generator

DECISION = ("choice", "rt")
"""What a trial of a decision consists of."""

CONDITIONS = (-0.5, 0.5)
"""Codes of two conditions."""


@dataclass(frozen=True)
class GroupParameter:
    """One group parameter and its normal prior N(mean, sd).

    `label` is what it is called where there is little room.
    """

    name: str
    symbol: str
    mean: float
    sd: float
    meaning: str
    label: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.sd) and self.sd > 0):
            raise ValueError(
                f"group parameter {self.name!r} needs a finite mean and an sd > 0, got "
                f"N({self.mean}, {self.sd})."
            )


@dataclass(frozen=True)
class GroupPrior:
    """Independent normal priors of the group parameters.

    Methods accept a mapping ``{name: array}`` (BayesFlow's form; the arrays may be NumPy arrays or
    tensors of any Keras backend) or one array whose last axis holds the d parameters in the order
    of :attr:`names`, and return the form they were given.
    """

    parameters: tuple[GroupParameter, ...]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"parameters need different names, at least one; got {self.names}.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in the order of this prior."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def means(self) -> np.ndarray:
        """Prior means, shape (d,)."""
        return np.array([p.mean for p in self.parameters])

    @cached_property
    def sds(self) -> np.ndarray:
        """Prior standard deviations, shape (d,)."""
        return np.array([p.sd for p in self.parameters])

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> GroupParameter:
        self._check_names([name])
        return self.parameters[self.names.index(name)]

    def ordered(self, names: Sequence[str]) -> GroupPrior:
        """Return the same prior with its parameters in the order of `names`.

        Raises
        ------
        ValueError
            If `names` are not those of this prior.
        """
        if sorted(names) != sorted(self.names):
            raise ValueError(f"names must be those of the prior, {self.names}, got {tuple(names)}.")
        return GroupPrior(tuple(self[name] for name in names))

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
        check_count("n", n)
        draws = self.means + self.sds * rng.standard_normal((n, len(self.parameters)))
        return self.to_dict(draws)

    def log_prob(self, x: Mapping[str, Any] | np.ndarray) -> np.ndarray:
        r"""Log prior density :math:`\sum_i \log N(x_i; m_i, s_i^2)`, summed over the parameters.

        Parameters
        ----------
        x : mapping of name to array (..., 1) or array (..., d)

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
        x : mapping of name to array or tensor, or array (..., d)

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
        x : mapping of name to array or tensor, or array (..., d)
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
        """Map an array (..., d) to prior z-scores."""
        return (self._check_last_axis(x) - self.means) / self.sds

    def unstandardize(self, z: np.ndarray) -> np.ndarray:
        """Map prior z-scores (..., d) back; in double precision."""
        return self.means + self.sds * self._check_last_axis(z)

    def to_array(self, x: Mapping[str, Any]) -> np.ndarray:
        """Stack ``{name: (..., 1)}`` (or ``(...)``) into one float64 array (..., d).

        Other entries, such as the people and trials of a simulated study, are left out.
        """
        missing = [k for k in self.names if k not in x]
        if missing:
            raise ValueError(f"group parameters are missing: {missing}; needed are {self.names}.")
        columns = [np.asarray(x[k], dtype=float) for k in self.names]
        if columns[0].ndim > 0 and all(c.shape[-1] == 1 for c in columns):
            columns = [c[..., 0] for c in columns]
        return np.stack(columns, axis=-1)

    def to_dict(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Split an array (..., d) into ``{name: (..., 1)}``."""
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


@dataclass(frozen=True)
class PersonParameter:
    """A parameter that differs between people: normal, on the log scale if it is positive.

    Attributes
    ----------
    name, symbol : str
        Its name, and in formulas.
    mean, log_sd : str
        Names of the group parameters that hold its mean and its log sd over people.
    positive : bool, default False
        Whether mean and sd are those of its logarithm.
    """

    name: str
    symbol: str
    mean: str
    log_sd: str
    positive: bool = False


@dataclass(frozen=True, eq=False)
class Model:
    r"""A hierarchical model of people who make exchangeable trials.

    .. math:: \eta \sim p(\eta), \qquad \theta_j \sim p(\theta \mid \eta), \qquad
        y_{ij} \sim p(y \mid \theta_j, \eta)

    Attributes
    ----------
    name : str
        Of the model, in cards and messages.
    prior : GroupPrior
        Of the group parameters :math:`\eta`.
    people : tuple of PersonParameter
        What differs between people, :math:`\theta`; the group parameters that none of these name
        are shared by all people.
    simulate : callable
        ``simulate(parameters, n_trials, *, seed, **options)``: trials (..., n_trials, width) of
        people with the parameters (...), which are those of `people` and the shared ones, by name.
    density : callable, optional
        ``density(trials, parameters)``: log density of trials (..., width), which `eamlab.exact`
        needs.
    natural : callable, optional
        ``natural(parameters)``: further names for the same parameters, in units that readers know.
    constants : mapping of str to float
        Other numbers that these three functions take by keyword; part of the model.
    columns : tuple of str, default ("choice", "rt")
        What a trial consists of. ``choice`` is 0 or 1, ``rt`` in seconds, ``condition`` one of
        `conditions`; others are numbers. A trial of zeros only stands for a missing one.
    conditions : tuple of float
        Codes of the experiment's conditions, if a trial has one; `simulate` then takes the code of
        each trial, or of all, as ``condition``.
    """

    name: str
    prior: GroupPrior
    people: tuple[PersonParameter, ...]
    simulate: Callable[..., NDArray]
    density: Callable[..., NDArray] | None = None
    natural: Callable[..., dict[str, NDArray]] | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = DECISION
    conditions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if ("condition" in self.columns) != bool(self.conditions):
            raise ValueError(
                "columns need a 'condition' where conditions are given, and only there; got "
                f"columns={self.columns}, conditions={self.conditions}."
            )
        for p in self.people:
            unknown = [name for name in (p.mean, p.log_sd) if name not in self.prior.names]
            if unknown:
                raise ValueError(
                    f"people: {p.name!r} names {unknown}, which the prior lacks; it has "
                    f"{self.prior.names}."
                )

    @cached_property
    def person_names(self) -> tuple[str, ...]:
        """Names of what differs between people."""
        return tuple(p.name for p in self.people)

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Names of the group parameters that all people share."""
        used = {name for p in self.people for name in (p.mean, p.log_sd)}
        return tuple(name for name in self.prior.names if name not in used)

    def ordered(self, names: Sequence[str], person_names: Sequence[str]) -> Model:
        """Return the same model with its group's and people's parameters in these orders."""
        if (tuple(names), tuple(person_names)) == (self.prior.names, self.person_names):
            return self
        people = {p.name: p for p in self.people}
        return replace(
            self, prior=self.prior.ordered(names), people=tuple(people[k] for k in person_names)
        )

    def description(self) -> dict[str, Any]:
        """Return, as JSON, all that makes this model what it is; what its fingerprint is made of.

        The order of parameters is no part of it, nor are symbols and meanings.
        """
        more: dict[str, Any] = {} if self.columns == DECISION else {"columns": list(self.columns)}
        if self.conditions:
            more["conditions"] = list(self.conditions)
        by_name = attrgetter("name")
        return more | {
            "name": self.name,
            "prior": {p.name: [p.mean, p.sd] for p in sorted(self.prior.parameters, key=by_name)},
            "people": {
                p.name: [p.mean, p.log_sd, p.positive] for p in sorted(self.people, key=by_name)
            },
            "simulate": _identity(self.simulate),
            "density": None if self.density is None else _identity(self.density),
            "constants": dict(sorted(self.constants.items())),
        }

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ where the model does."""
        text = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_made_with(self, description: Mapping[str, Any] | None, what: str, how: str) -> None:
        """Refuse what was made with another model.

        Parameters
        ----------
        description : mapping or None
            The `description` that stands with it.
        what, how : str
            What it is, and the command that makes it anew.

        Raises
        ------
        ValueError
            With the differences, if the description is not that of this model.
        """
        now = json.loads(json.dumps(self.description()))
        if description == now:
            return
        found = list(differences(description or {}, now))
        if len(found) > _TOLD:
            # Another model altogether: its name first, and not each of its parameters.
            found.sort(key=lambda text: not text.startswith("name "))
            found[_TOLD:] = [f"and {len(found) - _TOLD} more differences"]
        raise ValueError(
            f"{what} was made with another model than {self.name}: {'; '.join(found)}. "
            f"Make it anew: {how}."
        )

    def sample_people(
        self, group: Mapping[str, Any], n_subjects: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Draw people from the populations that `group` describes.

        Parameters
        ----------
        group : mapping of name to array (n, 1)
            The group parameters of n studies; those that people share are not needed.
        n_subjects : int
            People per study.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        dict of name to ndarray (n, n_subjects)
        """
        check_count("n_subjects", n_subjects)

        def draw(p: PersonParameter) -> np.ndarray:
            mean = np.reshape(np.asarray(group[p.mean], dtype=float), (-1, 1))
            sd = np.exp(np.reshape(np.asarray(group[p.log_sd], dtype=float), (-1, 1)))
            x = mean + sd * rng.standard_normal((mean.shape[0], n_subjects))
            return np.exp(x) if p.positive else x

        return {p.name: draw(p) for p in self.people}

    def person_range(self, name: str, n_sds: float = 10.0) -> tuple[float, float]:
        """Return where people can be: so many sds, all uncertainty included, around the middle.

        The sd is that of the mean plus the spread between people that two prior sds allow.
        """
        p = self.people[self.person_names.index(name)]
        mean, log_sd = self.prior[p.mean], self.prior[p.log_sd]
        reach = n_sds * (mean.sd + np.exp(log_sd.mean + 2.0 * log_sd.sd))
        low, high = mean.mean - reach, mean.mean + reach
        return (float(np.exp(low)), float(np.exp(high))) if p.positive else (low, high)

    def sample(
        self,
        n_studies: int,
        n_subjects: int,
        n_trials: int = 30,
        *,
        seed: Seed,
        group: Mapping[str, ArrayLike] | None = None,
        **options: Any,
    ) -> dict[str, NDArray]:
        """Simulate studies of equal size, as plain arrays: what networks are trained on.

        Parameters
        ----------
        n_studies, n_subjects : int
            Number of studies, and of people in each.
        n_trials : int, default 30
            Trials per person.
        seed : int, numpy.random.SeedSequence or numpy.random.Generator
            The same seed gives the same studies; a generator is advanced.
        group : mapping of name to scalar or array (n_studies, 1), optional
            Group parameters to hold fixed; those not named are drawn from the prior.
        **options
            For the model's `simulate`, such as ``scheme``.

        Returns
        -------
        dict
            The group parameters, each (n_studies, 1); the people's, each (n_studies, n_subjects);
            ``"sim_data"`` float32 (n_studies, n_subjects, n_trials, width).

        Raises
        ------
        ValueError
            If a count is below 1, `group` does not fit, or an option is out of range.
        """
        counts = {"n_studies": n_studies, "n_subjects": n_subjects, "n_trials": n_trials}
        for name, count in counts.items():
            check_count(name, count)
        prior_seed, trial_seed = seed_sequence(seed).spawn(2)
        rng = np.random.default_rng(prior_seed)
        study = self.prior.sample(n_studies, rng) | self._fixed(group, n_studies)
        study |= self.sample_people(study, n_subjects, rng)
        study["sim_data"] = self.trials_of(study, n_trials, seed=trial_seed, **options)
        return study

    def trials_of(
        self, parameters: Mapping[str, NDArray], n_trials: int, *, seed: Seed, **options: Any
    ) -> NDArray:
        """Simulate trials of people: `simulate` with the parameters it takes, and `constants`."""
        taken = {name: parameters[name] for name in (*self.person_names, *self.shared)}
        return self.simulate(taken, n_trials, seed=seed, **self.constants, **options)

    def log_density(self, trials: NDArray, parameters: Mapping[str, NDArray]) -> NDArray:
        """Log density of trials (..., width): `density` with `constants`."""
        if self.density is None:
            raise ValueError(
                f"the model {self.name} has no density: give density= when you make it, or do "
                "without the exact posterior and pointwise likelihoods."
            )
        return self.density(trials, parameters, **self.constants)

    def _fixed(self, group: Mapping[str, ArrayLike] | None, n_studies: int) -> dict[str, NDArray]:
        """Check the group parameters held fixed and give each the shape (n_studies, 1)."""
        fixed = {}
        for name, value in (group or {}).items():
            if name not in self.prior.names:
                raise ValueError(f"group must name parameters of {self.prior.names}, got {name!r}.")
            x = np.asarray(value, dtype=float)
            if x.shape not in ((), (n_studies, 1)) or not np.isfinite(x).all():
                raise ValueError(
                    f"group[{name!r}] must be a finite scalar or an array of shape "
                    f"({n_studies}, 1), got {value!r}."
                )
            fixed[name] = np.broadcast_to(x, (n_studies, 1)).copy()
        return fixed


def _identity(function: Callable) -> str:
    """Return what tells a function from another: its name, and its source if it is a reader's."""
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__module__.partition(".")[0] == "eamlab":
        return name
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return name
    return f"{name} {hashlib.sha256(source.encode()).hexdigest()[:16]}"


def differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    """Say where two descriptions, or two settings, differ: in entries of entries."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for k in {**now, **then}:
            yield from differences(then.get(k), now.get(k), f"{where}.{k}" if where else k)
    elif then != now:
        yield f"{where} was {_SHORT.repr(then)}, is {_SHORT.repr(now)}"


_TOLD = 3  # differences
_SHORT = reprlib.Repr(maxstring=80)


def seed_sequence(seed: Any) -> np.random.SeedSequence:
    """Turn any accepted seed into a fresh SeedSequence (never the caller's, whose state moves)."""
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4).tolist())
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0:
        return np.random.SeedSequence(int(seed))
    raise ValueError(
        f"seed must be a non-negative int, a numpy SeedSequence or a numpy Generator, got {seed!r};"
        " give one, for example seed=1, so that the simulation can be repeated."
    )


def generator(seed: Any) -> np.random.Generator:
    """Return a generator of any accepted seed: the given one itself, or for None a fresh one."""
    own = seed is None or isinstance(seed, np.random.Generator)
    return np.random.default_rng(seed if own else seed_sequence(seed))


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int; refuse what is not an integer of at least `least`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a float; refuse what is not a positive and finite number."""
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (known and 0 < value < np.inf):
        raise ValueError(f"{name} must be positive and finite, got {value!r}.")
    return float(value)
