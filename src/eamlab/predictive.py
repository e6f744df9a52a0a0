r"""Does a study look like anything the model can produce? The posterior predictive check.

An amortized network answers every question, also one it was never trained for. `check` compares a
study with the draws that a network gave for it, in three ways:

- **Draws and prior.** Is the posterior mean of a group parameter farther from the prior than chance
  puts it? Networks are trained on draws of the prior, so beyond it they extrapolate. Before the
  data are seen, a posterior mean :math:`\bar\eta` varies around the prior mean :math:`m` with
  variance :math:`s^2 - \mathrm{Var}(\eta \mid Y)`, so that is what its distance is measured in.
- **Data and prior** (Box, 1980). Do studies simulated from the prior look like the one observed?
  This does not ask the network, which may answer from within the prior whatever it is shown. The
  mean of a feature over people is measured in :math:`\sqrt{\tau^2 + s^2 / J}`, where
  :math:`\tau` is its spread between studies and :math:`s` between the people of this one:
  a few people who agree with each other, but not with the prior, are news.
- **Data and draws** (Gelman, Meng & Stern, 1996). Do studies simulated from the draws look like the
  one observed? Most statistics describe what the model was fitted to: they fail when the draws are
  wrong. Two describe what the model cannot adapt to, responses far below or far above a person's
  others: they fail when the model is wrong, for instance because of guesses and lapses.

Differences that are small in themselves are never reported, however many people there are: see
`TOLERANCE`.

References
----------
Box, G. E. P. (1980). Sampling and Bayes' inference in scientific modelling and robustness. *Journal
of the Royal Statistical Society A, 143*, 383-430.

Gelman, A., Meng, X.-L., & Stern, H. (1996). Posterior predictive assessment of model fitness via
realized discrepancies. *Statistica Sinica, 6*, 733-760.

Wagenmakers, E.-J., van der Maas, H. L. J., & Grasman, R. P. P. P. (2007). An EZ-diffusion model for
response time and accuracy. *Psychonomic Bulletin & Review, 14*, 3-22.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from eamlab.draws import Draws, group_array, model_of_draws
from eamlab.model.model import DECISION, Model, check_count, generator
from eamlab.study import Study, as_study

FloatArray = NDArray[np.float64]

TOLERANCE = 0.01
"""Smallest standard deviation a comparison uses, in log units, shares or square roots: about 1 %.

Composed posteriors of thousands of people are biased by a few of their own tiny standard
deviations, and no conclusion hangs on it.
"""

# How many sds are unusual. Limits differ because tails do: those of data against the prior are a
# little heavier than normal, and what the model is fitted to shows the network's error as well,
# which may be a few sds.
_DRAWS_LIMIT, _PRIOR_LIMIT, _FIT_LIMIT, _OUTLIER_LIMIT = 3.5, 4.0, 5.0, 3.75
# Subjects of studies simulated from the prior: sampling error is far below the spread of studies.
_PRIOR_SUBJECTS = 25
_MOST_TRIALS = 12_000  # of a simulated study; bounds the time where people have many trials
_TRIALS_AT_ONCE = 50_000
_UNEVEN = 4  # times as many trials as people have, if all were given as many as one of them
_FEWEST_TRIALS = 5
_LEAST_IQR = 1e-3  # seconds; times rounded to milliseconds may coincide
# Where outliers begin, in interquartile ranges below the first and above the third quartile, and
# the most that a single one counts.
_FAST, _SLOW, _MOST = 0.5, 2.0, 10.0
# Posteriors that hardly narrow the prior would make the expected distance tiny.
_LEAST_DISTANCE = 0.8
# Spread of features between studies, and their variance within a person, at the least: two people
# who agree by chance are no proof.
_LEAST_SPREAD, _NOISE = 0.02, 0.02
# Wild draws are simulated no farther out than so many sds from the prior's middle; the data differ
# from it by far anyway.
_REACH, _SHARED_REACH = 10.0, 6.0
_QUANTILES = (0.023, 0.5, 0.977)  # the median and two sds of a normal distribution


# --------------------------------------------------------------------------------------------------
# What is compared
# --------------------------------------------------------------------------------------------------


class _Studies(NamedTuple):
    """Trials of studies of J subjects with up to n trials, and what each subject needs once."""

    choice: FloatArray  # (..., J, n), 0 where a trial is missing
    there: NDArray[np.bool_]  # (..., J, n)
    n: FloatArray  # (..., J), trials of each
    rt: FloatArray  # (..., J, n) in seconds
    quartiles: FloatArray  # (3, ..., J) in seconds
    iqr: FloatArray  # (..., J) in seconds

    @classmethod
    def of(cls, data: NDArray) -> _Studies:
        """Prepare studies (..., J, n, 2), in which ``rt`` is 0 where a trial is missing."""
        choice, rt = data[..., 0].astype(float), data[..., 1].astype(float)
        there = rt > 0
        n = there.sum(axis=-1)
        ordered = np.sort(np.where(there, rt, np.inf), axis=-1)
        ranks = np.round(np.multiply.outer(n - 1, (0.25, 0.5, 0.75))).astype(int)
        quartiles = np.moveaxis(np.take_along_axis(ordered, ranks, axis=-1), -1, 0)
        iqr = np.maximum(quartiles[2] - quartiles[0], _LEAST_IQR)
        return cls(choice * there, there, n.astype(float), rt, quartiles, iqr)

    def mean(self, values: FloatArray) -> FloatArray:
        """Mean (..., J) of values (..., J, n) over each subject's trials."""
        return np.sum(values, axis=-1, where=self.there) / self.n

    @property
    def share(self) -> FloatArray:
        """Share of upper choices (..., J)."""
        return self.mean(self.choice)

    @property
    def share_logit(self) -> FloatArray:
        """Logit of each share of upper choices, finite for one-sided people too."""
        return special.logit((self.share * self.n + 0.5) / (self.n + 1.0))

    def outliers(self, beyond: FloatArray, fence: float) -> FloatArray:
        """Mean distance (IQRs) over all responses by which those beyond a fence are beyond it."""
        # A subject's spread is half its own, which is noisy, and half the study's.
        spread = np.sqrt(self.iqr * np.median(self.iqr, axis=-1, keepdims=True))[..., None]
        return self.mean(np.clip(beyond / spread - fence, 0.0, _MOST)).mean(axis=-1)

    @property
    def choice_speed(self) -> FloatArray:
        """Four times the covariance: upper minus lower responses if half are upper."""
        z = np.clip((self.rt - self.quartiles[1][..., None]) / self.iqr[..., None], -2.0, 2.0)
        return 4.0 * (self.mean(z * self.choice) - self.mean(z) * self.share).mean(axis=-1)


_DRAWS_FAIL = (
    "The draws do not describe these data. Check the units (seconds) and the coding of the "
    "choices; then suspect a population beyond the prior (widen it and train again) or a failed "
    "sampler (more steps, larger groups)."
)


class _Statistic(NamedTuple):
    """A number (...) that describes a study, a scale where it is about normal, what it tells."""

    name: str
    of: Callable[[Any], FloatArray]  # of _Studies; of trials that are not decisions
    scale: Callable[[FloatArray], FloatArray]
    meaning: str
    high: str = _DRAWS_FAIL
    low: str = _DRAWS_FAIL
    limit: float = _FIT_LIMIT


def _log(x: FloatArray) -> FloatArray:
    return np.log(x + 0.01)


_OUT_OF_PRIOR = (
    "Networks are trained within the prior only. Check the units (seconds), rule out contaminants, "
    "then widen the prior and train again."
)
_SPEED_FAILS = (
    "In the model only the starting point makes one choice faster than the other. Look for drift "
    "or starting points that vary from trial to trial, and for guesses."
)
_STATISTICS = (
    _Statistic(
        "rt_median", lambda s: np.exp(np.log(s.quartiles[1]).mean(axis=-1)), np.log,
        "The typical median response time of a person (s)",
    ),
    _Statistic(
        "rt_within", lambda s: np.exp(np.log(s.iqr).mean(axis=-1)), np.log,
        "The typical interquartile range of a person's response times (s)",
    ),
    _Statistic(
        "rt_between", lambda s: np.log(s.quartiles[1]).std(axis=-1), _log,
        "The standard deviation over people of their log median response times",
    ),
    _Statistic(
        "choice_share", lambda s: s.share.mean(axis=-1), lambda x: x,
        "The share of upper choices",
    ),
    _Statistic(
        "choice_between", lambda s: s.share.std(axis=-1), _log,
        "The standard deviation over people of their shares of upper choices",
    ),
    _Statistic(
        "choice_speed", lambda s: s.choice_speed, lambda x: x,
        "By how much upper responses are slower than lower ones (interquartile ranges)",
        _SPEED_FAILS, _SPEED_FAILS,
    ),
    _Statistic(
        "fast_outliers", lambda s: s.outliers(s.quartiles[0][..., None] - s.rt, _FAST),
        # Without the constant, one response in ten people's data would look like a revolution.
        lambda x: np.sqrt(x + 0.003),
        f"How far responses fall below a fence {_FAST} interquartile ranges under a person's first "
        "quartile (mean over all responses, in such ranges)",
        "Look for fast guesses and anticipations, and leave them out or model them.",
        "Look for a lower cut-off that has removed fast responses.", _OUTLIER_LIMIT,
    ),
    _Statistic(
        "slow_outliers", lambda s: s.outliers(s.rt - s.quartiles[2][..., None], _SLOW),
        lambda x: np.sqrt(x + 0.003),
        f"How far responses rise above a fence {_SLOW:g} interquartile ranges over a person's "
        "third quartile (mean over all responses, in such ranges)",
        "Look for lapses of attention and other slow contaminants, and leave them out or model "
        "them.",
        "Look for a deadline or an upper cut-off that has removed slow responses.", _OUTLIER_LIMIT,
    ),
)  # fmt: skip


def _described(data: NDArray) -> FloatArray:
    """All statistics (..., 8) of studies (..., J, n, 2)."""
    studies = _Studies.of(data)
    return np.stack([statistic.of(studies) for statistic in _STATISTICS], axis=-1)


def _log_boundary(s: _Studies) -> FloatArray:
    """Log boundary as in EZ-diffusion, from the interquartile range: 1.1 sds of decision times.

    The logit of the choices is drift times boundary; without it fast people with a strong drift
    would seem to have narrow boundaries. Of one-sided people the drift is unknown: they are left
    out (NaN), unless all are.
    """
    y = np.maximum(np.abs(s.share_logit), 0.05)
    e = np.exp(-y)
    variance = (1.0 - 2.0 * y * e - e**2) / (2.0 * y**3 * (1.0 + e) ** 2)  # for boundary 1
    guesses = 0.5 * np.log(s.iqr / 1.1) - 0.25 * np.log(variance)
    mixed = (s.share > 0.0) & (s.share < 1.0)
    return np.where(mixed | ~mixed.any(axis=-1, keepdims=True), guesses, np.nan)


class _Feature(NamedTuple):
    """What the prior fixes about people (..., J): compared is the mean over them."""

    name: str
    of: Callable[[_Studies], FloatArray]
    natural: Callable[[FloatArray], FloatArray]
    meaning: str


_FEATURES = (
    _Feature(
        "prior_rt_median", lambda s: np.log(s.quartiles[1]), np.exp,
        "The typical median response time of a person (s)",
    ),
    _Feature(
        "prior_boundary", _log_boundary, np.exp,
        "The typical boundary separation of a person, guessed from times and choices",
    ),
    _Feature(
        "prior_choice_share", lambda s: s.share_logit, special.expit,
        "The typical share of upper choices of a person",
    ),
    _Feature(
        "prior_rt_between", lambda s: _log(np.log(s.quartiles[1]).std(axis=-1, keepdims=True)),
        lambda x: np.exp(x) - 0.01,
        "The standard deviation over people of their log median response times",
    ),
)  # fmt: skip


def _featured(data: NDArray) -> FloatArray:
    """Mean and squared standard error (..., 2, 4) of all features of studies (..., J, n, 2)."""
    studies = _Studies.of(data)
    moments = []
    for values in (feature.of(studies) for feature in _FEATURES):
        n = np.sum(np.isfinite(values), axis=-1)
        error2 = (np.nanvar(values, axis=-1) + _NOISE) / n
        moments.append(np.stack([np.nanmean(values, axis=-1), error2], axis=-1))
    return np.stack(moments, axis=-1)


def _moments(data: NDArray) -> FloatArray:
    """For each column of other data (..., J, n, width): mean, sd between people, sd within."""
    there = (data != 0.0).any(axis=-1, keepdims=True)
    n = there.sum(axis=-2)
    mean = data.sum(axis=-2, dtype=float) / n
    within = np.sqrt((((data - mean[..., None, :]) * there) ** 2).sum(axis=-2) / n)
    parts = (mean.mean(axis=-2), mean.std(axis=-2), within.mean(axis=-2))
    return np.stack(parts, axis=-1).reshape(*data.shape[:-3], -1)


def _moment_statistics(
    model: Model,
    simulated: FloatArray,
    prefix: str = "",
    advice: str = _DRAWS_FAIL,
    limit: float = _FIT_LIMIT,
) -> list[_Statistic]:
    """What these numbers are called; differences of means count in sds of the prior's studies."""
    found = []
    for i, column in enumerate(model.columns):
        unit = max(float(simulated[:, 3 * i].std()), 1e-300)
        kinds: tuple[tuple[str, str, Callable[[FloatArray], FloatArray]], ...] = (
            ("mean", f"The mean of {column}", lambda x, unit=unit: x / unit),  # type: ignore[misc]
            ("between", f"The sd between people of their mean {column}", np.log),
            ("within", f"The mean over people of their sd of {column}", np.log),
        )
        for kind, meaning, scale in kinds:
            name = f"{prefix}{column}_{kind}"
            found.append(_Statistic(name, _moments, scale, meaning, advice, advice, limit))
    return found


# --------------------------------------------------------------------------------------------------
# Results
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One number, beside what the model expects of it.

    Attributes
    ----------
    name : str
        A group parameter, or a statistic of the data.
    observed : float
        Mean of the draws of the parameter, or the statistic of the study.
    expected : float
        Prior mean, or median of the statistic over simulated studies.
    interval : tuple of float
        About 95 % of what the model expects.
    z : float
        Distance from `expected` in standard deviations, on a scale where these are about normal.
    limit : float
        Distance beyond which it is unusual.
    meaning, advice : str
        What the number is, and what to do where it is unusual.
    """

    name: str
    observed: float
    expected: float
    interval: tuple[float, float]
    z: float
    limit: float
    meaning: str
    advice: str

    @property
    def unusual(self) -> bool:
        """Whether the distance is beyond the limit, or not a number."""
        return not abs(self.z) <= self.limit

    @property
    def message(self) -> str:
        """The comparison in words."""
        low, high = self.interval
        return (
            f"{self.name}: {self.meaning} is {self.observed:.3g}; the model expects {low:.3g} to "
            f"{high:.3g} (z = {self.z:+.1f}). {self.advice}"
        )


@dataclass(frozen=True)
class PredictiveCheck:
    """Result of `check`.

    Attributes
    ----------
    comparisons : tuple of Comparison
        The draws of the group parameters against the prior, the data against the prior (names
        begin with ``prior_``), and the data against the draws.
    notes : tuple of str
        What could not be compared, and why.
    """

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Comparison:
        found = {c.name: c for c in self.comparisons}
        if name not in found:
            raise KeyError(f"unknown comparison {name!r}; known are {tuple(found)}.")
        return found[name]

    @property
    def unusual(self) -> list[str]:
        """Names of what is unlike the model and its prior; empty if nothing is."""
        return [c.name for c in self.comparisons if c.unusual]

    @property
    def messages(self) -> list[str]:
        """One or two sentences for each of `unusual`, and the notes."""
        return [*(c.message for c in self.comparisons if c.unusual), *self.notes]


# --------------------------------------------------------------------------------------------------
# The check
# --------------------------------------------------------------------------------------------------


def check(
    draws: Draws,
    study: Study,
    *,
    num_samples: int = 200,
    max_subjects: int = 200,
    seed: int | np.random.Generator = 0,
) -> PredictiveCheck:
    r"""Compare a study and its posterior draws with the prior, and the study with the draws.

    With a statistic T of the study and of simulated studies with as many trials per subject,

    .. math:: z = \frac{g(T(Y)) - \mathrm{median}}{\max(w / 2,\; 0.01)}

    where w is the distance from the median to the 2.3 % or 97.7 % quantile on the same side, two
    sds of a normal distribution, and g is the logarithm, the root or nothing, so that z is about
    normal. For a group parameter
    :math:`z = (\bar\eta - m) / \sqrt{s^2 - \mathrm{Var}(\eta \mid Y)}`. The limits on z make
    a false alarm in less than one of 100 studies of the prior. Of trials that are not choices and
    times, the mean of each column and its sds between and within people are compared.

    Parameters
    ----------
    draws : Draws
        Of the group parameters, from whatever made them.
    study : Study
        What they are draws for. Subjects with fewer than five trials are left out.
    num_samples : int, default 200
        Studies to simulate, from draws spread evenly over those given; at least 50.
    max_subjects : int, default 200
        Most subjects of a simulated study, and fewer where they have more than 60 trials. Of a
        larger study nothing is asked that would not show in one of this size.
    seed : int or numpy.random.Generator, default 0
        Seed of the simulations. The same seed gives the same answer.

    Returns
    -------
    PredictiveCheck
        ``.unusual`` (names), ``.messages`` (sentences), ``.comparisons``, ``["name"]``.

    Raises
    ------
    ValueError
        If draws are missing, of several studies or not finite; if a count is too small.

    Notes
    -----
    Of a study in which nobody has five trials only the draws are compared with the prior, and a
    condition in which nobody has is left out; ``.messages`` says so.
    """
    check_count("num_samples", num_samples, 50)
    check_count("max_subjects", max_subjects)
    model = model_of_draws(draws)
    study = as_study(study, model=model)
    values, rng = group_array(draws, model), generator(seed)
    chosen = values[np.linspace(0, len(values) - 1, num_samples).round().astype(int)]
    comparisons, notes = list(_draws_and_prior(values, model)), []
    for code, label in zip(model.conditions or (None,), study.conditions, strict=False):
        name = "" if code is None else f" ({label})"
        part = study if code is None else study.under(label)
        enough = part.n_trials >= _FEWEST_TRIALS
        if not enough.any():
            where, left = f" under {label!r}", "that condition was left out"
            if code is None:
                where, left = "", "only the draws were compared with the prior"
            notes.append(
                f"Nobody has {_FEWEST_TRIALS} trials{where}, which the comparison of data and "
                f"predictions needs; {left}."
            )
            continue
        data, counts = part.trials[enough], part.n_trials[enough]
        options = {} if code is None else {"condition": code}
        most = min(max_subjects, max(_PRIOR_SUBJECTS, _MOST_TRIALS // int(counts.max())))
        few = min(max_subjects, _PRIOR_SUBJECTS)
        from_prior = model.prior.to_array(model.prior.sample(2 * num_samples, rng))
        expected = _simulated(model, from_prior, counts, few, rng, options)
        predicted = _simulated(model, chosen, counts, most, rng, options)
        if model.columns[:2] == DECISION:
            of_prior = np.concatenate([_featured(x) for x in expected])
            of_draws = np.concatenate([_described(x) for x in predicted])
            found = [
                *_data_and_prior(_featured(data), of_prior),
                *_data_and_draws(_described(data), of_draws, _STATISTICS),
            ]
        else:
            of_prior = np.concatenate([_moments(x) for x in expected])
            of_draws = np.concatenate([_moments(x) for x in predicted])
            seen, beyond = _moments(data), ("prior_", _OUT_OF_PRIOR, _PRIOR_LIMIT)
            found = [
                *_data_and_draws(seen, of_prior, _moment_statistics(model, of_prior, *beyond)),
                *_data_and_draws(seen, of_draws, _moment_statistics(model, of_prior)),
            ]
        comparisons += [replace(c, name=c.name + name) for c in found]
    return PredictiveCheck(tuple(comparisons), tuple(dict.fromkeys(notes)))


def _simulated(
    model: Model,
    draws: FloatArray,
    counts: NDArray[np.intp],
    max_subjects: int,
    rng: np.random.Generator,
    options: Mapping[str, Any],
) -> Iterator[NDArray]:
    """Simulate a study for each draw (S, d), with trials per subject as in `counts` (J,).

    Studies come a few at a time, shape (few, J, n, 2), which is fast and takes little memory.
    """
    n_subjects, n_trials = min(len(counts), max_subjects), int(counts.max())
    few = max(1, _TRIALS_AT_ONCE // (n_subjects * n_trials))
    width = 2 if model.columns[:2] == DECISION else len(model.columns)
    # The simulator takes shared parameters as they are; all others are clipped below.
    shared = [name in model.shared for name in model.prior.names]
    low, high = (model.prior.means + s * _SHARED_REACH * model.prior.sds for s in (-1.0, 1.0))
    for first in range(0, len(draws), few):
        part = draws[first : first + few]
        inside = np.where(shared, np.clip(part, low, high), part)
        group = model.prior.to_dict(inside)
        with np.errstate(over="ignore"):  # wild draws overflow
            people = model.sample_people(group, n_subjects, rng)
        people = {k: np.clip(x, *model.person_range(k, _REACH)) for k, x in people.items()}
        kept = rng.choice(counts, n_subjects, replace=False)
        # Where few people have many trials, those with similar numbers are simulated together.
        uneven = n_subjects * n_trials > _UNEVEN * kept.sum()
        alike = np.log2(kept).astype(int) if uneven else np.zeros_like(kept)
        data = np.zeros((len(part), n_subjects, n_trials, width), dtype=np.float32)
        for level in np.unique(alike):
            who = np.flatnonzero(alike == level)
            some = {k: x[:, who] for k, x in people.items()}
            most = int(kept[who].max())
            made = model.trials_of(group | some, most, seed=rng, **options)[..., :width]
            there = np.arange(most)[:, None] < kept[who, None, None]
            data[:, who, :most] = np.where(there, made, 0.0)
        yield data


def _draws_and_prior(draws: FloatArray, model: Model) -> list[Comparison]:
    """Compare the means of the draws (S, d) with the prior."""
    prior_sds = model.prior.sds
    narrowed = 1.0 - np.minimum(draws.std(axis=0) / prior_sds, 1.0) ** 2
    sds = prior_sds * np.maximum(np.sqrt(narrowed), _LEAST_DISTANCE)
    return [
        Comparison(
            parameter.name, float(mean), parameter.mean,
            (parameter.mean - 2.0 * sd, parameter.mean + 2.0 * sd),
            float((mean - parameter.mean) / sd), _DRAWS_LIMIT,
            f"The posterior mean of the {parameter.meaning}", _OUT_OF_PRIOR,
        )
        for parameter, mean, sd in zip(model.prior.parameters, draws.mean(axis=0), sds, strict=True)
    ]  # fmt: skip


def _data_and_prior(observed: FloatArray, simulated: FloatArray) -> list[Comparison]:
    """Compare the features (2, 4) of the study with those of the prior's (2 num_samples, 2, 4)."""
    centre, error2 = np.median(simulated, axis=0)
    # Medians, because some studies of the prior are very mixed; 0.455 is that of a squared normal.
    between2 = np.median((simulated[:, 0] - centre) ** 2, axis=0) / 0.455 - error2
    errors2 = np.vstack([simulated[:, 1], observed[1:]])  # the observed study's last
    sds = np.sqrt(np.maximum(between2, _LEAST_SPREAD**2) + errors2)
    seen = (observed[0] - centre) / sds[-1]
    limits = np.quantile((simulated[:, 0] - centre) / sds[:-1], _QUANTILES, axis=0)
    found = []
    for i, feature in enumerate(_FEATURES):
        low, middle, high = feature.natural(centre[i] + sds[-1, i] * limits[:, i]).tolist()
        found.append(
            Comparison(
                feature.name, float(feature.natural(observed[0, i])), middle, (low, high),
                _z(seen[i], *limits[:, i]), _PRIOR_LIMIT, feature.meaning, _OUT_OF_PRIOR,
            )
        )  # fmt: skip
    return found


def _data_and_draws(
    observed: FloatArray, simulated: FloatArray, statistics: Sequence[_Statistic]
) -> list[Comparison]:
    """Compare the statistics (n,) of the study with those of simulated studies (num_samples, n)."""
    found = []
    for statistic, seen, values in zip(statistics, observed, simulated.T, strict=True):
        low, middle, high = np.quantile(values, _QUANTILES)
        z = _z(*statistic.scale(np.array([seen, low, middle, high])))
        advice = statistic.high if z > 0 else statistic.low
        found.append(
            Comparison(
                statistic.name, float(seen), float(middle), (float(low), float(high)),
                z, statistic.limit, statistic.meaning, advice,
            )
        )  # fmt: skip
    return found


def _z(seen: float, low: float, middle: float, high: float) -> float:
    """Distance in units of half of the interval on its side, which spans two sds."""
    sd = (high - middle if seen > middle else middle - low) / 2.0
    return float((seen - middle) / max(sd, TOLERANCE))
