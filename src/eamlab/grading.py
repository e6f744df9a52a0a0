"""Grade a composed posterior against the exact one.

A recovery plot cannot see a posterior that is five times too narrow or off by ten of its own
standard deviations. These measures can, because the exact posterior is known: `grade` compares one
pair, and `grade_many` says how certain the picture is over several studies. Both work for any named
draws: group parameters or those of people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest, wasserstein_distance
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from eamlab.draws import Draws, as_draws, check_finite
from eamlab.model.model import check_count, generator

FloatArray = NDArray[np.float64]

_N_BOOTSTRAP = 1000
_FOLDS, _SHUFFLES = 5, 200  # of a classifier: its cross-validation, and what is chance


@dataclass(frozen=True)
class C2ST:
    """Result of a classifier two-sample test.

    Attributes
    ----------
    accuracy : float
        Cross-validated accuracy; 0.5 when the classifier cannot tell the samples apart.
    chance : float
        Mean accuracy when labels are shuffled.
    interval : tuple of float
        Central 95 % of these; an accuracy above it is more than chance.
    n_draws : int
        Draws taken from each of the two samples.
    """

    accuracy: float
    chance: float
    interval: tuple[float, float]
    n_draws: int

    @property
    def differs(self) -> bool:
        """Whether the samples were told apart beyond chance."""
        return self.accuracy > self.interval[1]


@dataclass(frozen=True)
class Grade:
    """One composed posterior against its exact counterpart.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per parameter. ``bias``: difference of means in exact sds. ``sd_ratio``: composed
        over exact sd. ``wasserstein``: distance of the marginals in exact sds. ``covered``,
        ``exact_covered``: 1 where the central interval holds the truth, 0 where it does not, NaN
        where the truth is not known. Then the means, sds, and the truth itself.
    c2st : C2ST or None
        Joint two-sample test over all parameters.
    level : float
        Probability of the central interval.
    """

    table: pd.DataFrame
    c2st: C2ST | None
    level: float

    def _repr_html_(self) -> str:
        return str(self.table.round(3).to_html())


@dataclass(frozen=True)
class GradeSummary:
    """Grades of several studies together.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per parameter; for each measure its value and, as ``_low`` and ``_high``, a 95 %
        interval: Wilson's for coverages, a bootstrap over studies for the others. ``bias_rms`` is
        the root mean square of the bias, ``bias`` its mean, which shows a common direction.
    c2st : pandas.Series
        Mean accuracy with its interval, mean chance level, and the share of studies told apart.
    n_studies : int
        Number of grades.
    """

    table: pd.DataFrame
    c2st: pd.Series
    n_studies: int

    def _repr_html_(self) -> str:
        return str(self.table.round(3).to_html())


def grade(
    draws: Draws,
    key: Draws,
    *,
    truth: Mapping[str, Any] | None = None,
    level: float = 0.9,
    classify: bool = True,
    seed: int = 0,
) -> Grade:
    r"""Compare the draws of a composed posterior with those of the exact one.

    .. math:: \text{bias} = (\bar x_\text{composed} - \bar x_\text{exact}) / s_\text{exact}, \qquad
        \text{sd ratio} = s_\text{composed} / s_\text{exact}

    Parameters
    ----------
    draws : Draws
        To be graded. Parameters that `key` does not have are ignored.
    key : Draws
        Of the exact posterior. Every parameter must be in `draws`. People's parameters are graded
        person by person.
    truth : mapping of str to float or array (J,), optional
        True values, where known, such as ``study.truth``.
    level : float, default 0.9
        Probability of the central intervals behind ``covered``.
    classify : bool, default True
        Whether to run the joint two-sample test.
    seed : int, default 0
        Seed of the two-sample test.

    Returns
    -------
    Grade
        ``.table`` (pandas) and ``.c2st``.

    Raises
    ------
    ValueError
        For draws of several studies, of different models or people, missing parameters, draws that
        are not finite or fewer than 10, or a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1; got {level!r}.")
    draws, key = as_draws(draws), as_draws(key, "key")
    missing = [name for name in key if name not in draws]
    if missing:
        raise ValueError(f"draws lack {missing} of the key; they have {tuple(draws)}.")
    if draws.model is not None and key.model is not None:
        draws.model.check_made_with(key.model.description(), "key", "el.exact(study, draws.model)")
    ids = [d.subjects for d in (draws, key) if d.subjects is not None]
    if key.person_names and len(set(ids)) > 1:
        raise ValueError("draws and key are of different subjects; give those of the same study.")
    names, theirs = _columns(key, tuple(key), "key")
    _, ours = _columns(draws, tuple(key), "draws")
    moments = np.stack([_flat(key.mean, key), _flat(key.sd, key)], axis=1)
    if not (moments[:, 1] > 0.0).all():
        raise ValueError("key has a parameter whose draws are all equal; nothing to compare to.")
    values = {}
    for name, x in key.items():  # NaN where not known
        value = np.asarray((truth or {}).get(name, np.nan), dtype=float)
        if value.ndim and value.shape != x.shape[1:]:
            raise ValueError(f"truth[{name!r}] must have shape {x.shape[1:]}; got {value.shape}.")
        values[name] = np.broadcast_to(value, x.shape[1:])
    true = _flat(values, key)
    rows = [_row(ours[:, i], theirs[:, i], moments[i], true[i], level) for i in range(len(names))]
    test = c2st(ours, theirs, seed=seed) if classify else None
    return Grade(pd.DataFrame(rows, index=pd.Index(names, name="parameter")), test, level)


def grade_many(grades: Sequence[Grade], *, seed: int = 0) -> GradeSummary:
    """Aggregate the grades of several studies, with the uncertainty over studies.

    Parameters
    ----------
    grades : sequence of Grade
        At least two, with the same parameters and level.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    GradeSummary
        ``.table``, ``.c2st``, ``.n_studies``.

    Raises
    ------
    ValueError
        For fewer than two grades, or grades that do not belong together.
    """
    grades = tuple(grades)
    if len(grades) < 2:
        raise ValueError(f"grades must hold at least two; got {len(grades)}.")
    index = grades[0].table.index
    if any(list(g.table.index) != list(index) or g.level != grades[0].level for g in grades):
        raise ValueError("grades must all have the same parameters and the same level.")
    rng = generator(seed)
    rows = []
    for name in index:
        study = pd.DataFrame([g.table.loc[name] for g in grades]).astype(float)
        row: dict[str, float] = {}
        for measure, (column, statistic) in _MEASURES.items():
            row |= _with_interval(measure, study[column].to_numpy(), statistic, rng)
        for measure, column in (("coverage", "covered"), ("exact_coverage", "exact_covered")):
            known = study[column].dropna()
            ends = [np.nan, np.nan]
            if len(known):
                share = binomtest(int(known.sum()), len(known))
                ends = share.proportion_ci(0.95, "wilson")
            row |= {measure: known.mean(), f"{measure}_low": ends[0], f"{measure}_high": ends[1]}
        rows.append(row)
    tests = [g.c2st for g in grades if g.c2st is not None]
    told: dict[str, float] = dict.fromkeys(
        ("accuracy", "accuracy_low", "accuracy_high", "chance", "share_told_apart"), np.nan
    )
    if tests:
        told |= _with_interval("accuracy", np.array([t.accuracy for t in tests]), np.mean, rng)
        told["chance"] = float(np.mean([t.chance for t in tests]))
        told["share_told_apart"] = float(np.mean([t.differs for t in tests]))
    return GradeSummary(pd.DataFrame(rows, index=index), pd.Series(told), len(grades))


def c2st(first: Any, second: Any, *, seed: int = 0) -> C2ST:
    """Classifier two-sample test: whether a classifier can tell the two samples apart.

    The classifier is a linear discriminant on the variables and all their products, so it sees
    differences in location, spread and correlation, and needs few draws. The larger sample is
    thinned to the size of the smaller. The accuracy is cross-validated in five folds. The chance
    level comes from the same classifier trained on labels that were shuffled 200 times, so that it
    includes the noise of a finite sample.

    Parameters
    ----------
    first, second : array_like (n, d) and (m, d)
        Draws of the two distributions.
    seed : int, default 0
        Seed of thinning, folds and shuffles.

    Returns
    -------
    C2ST

    Raises
    ------
    ValueError
        For samples of different dimension, or with fewer draws than twice the number of folds.

    References
    ----------
    Lopez-Paz & Oquab (2017), *Revisiting classifier two-sample tests*, ICLR.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"first and second must be (n, d) and (m, d); got {x.shape}, {y.shape}.")
    n = min(len(x), len(y))
    if n < 2 * _FOLDS:
        raise ValueError(f"first and second need {2 * _FOLDS} draws for {_FOLDS} folds; got {n}.")
    rng = generator(check_count("seed", seed, 0))
    pooled = np.concatenate([rng.permutation(x)[:n], rng.permutation(y)[:n]])
    labels = np.repeat([-1.0, 1.0], n)
    shuffled = [rng.permutation(labels) for _ in range(_SHUFFLES)]
    accuracy = _accuracies(pooled, np.stack([labels, *shuffled], axis=1), seed)
    low, high = np.quantile(accuracy[1:], [0.025, 0.975])
    chance = (float(low), float(high))
    return C2ST(float(accuracy[0]), float(accuracy[1:].mean()), chance, n)


def _accuracies(x: FloatArray, labels: FloatArray, seed: int) -> FloatArray:
    """Cross-validated accuracy for every column of labels (n, L), coded -1 and 1."""
    # Regression on such labels is a linear discriminant, and serves all columns with one fit.
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), Ridge(1.0)
    )
    parts = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(x, labels[:, 0])
    guess = cross_val_predict(model, x, labels, cv=list(parts))
    accuracy: FloatArray = (guess * labels > 0.0).mean(axis=0)
    return accuracy


def _columns(source: Draws, names: Sequence[str], label: str) -> tuple[list[str], FloatArray]:
    """Names and draws (S, d), people's parameters one by one, after checks."""
    columns: dict[str, FloatArray] = {}
    for name in names:
        x = source[name]
        ids = source.subjects or range(source.n_subjects)
        columns |= (
            {name: x}
            if x.ndim == 1
            else {f"{name}[{j}]": column for j, column in zip(ids, x.T, strict=True)}
        )
    draws = np.stack(list(columns.values()), axis=1)
    if len(draws) < 10:
        raise ValueError(f"{label} must have at least 10 draws; got {len(draws)}.")
    check_finite(columns, label)
    return list(columns), draws


def _flat(values: Mapping[str, Any], key: Draws) -> FloatArray:
    """Numbers and arrays (J,) of the key's parameters end to end."""
    return np.concatenate([np.atleast_1d(np.asarray(values[name], float)) for name in key])


def _row(
    ours: FloatArray, theirs: FloatArray, moments: FloatArray, truth: float, level: float
) -> dict[str, float]:
    """Measures of one parameter."""
    mean, sd = moments
    return {
        "bias": (ours.mean() - mean) / sd,
        "sd_ratio": ours.std(ddof=1) / sd,
        "wasserstein": wasserstein_distance(ours, theirs) / sd,
        "covered": _covers(ours, truth, level),
        "exact_covered": _covers(theirs, truth, level),
        "composed_mean": ours.mean(),
        "composed_sd": ours.std(ddof=1),
        "exact_mean": mean,
        "exact_sd": sd,
        "truth": truth,
    }


def _covers(draws: FloatArray, truth: float, level: float) -> float:
    """1 where the central interval of the draws holds the truth, else 0; NaN without a truth."""
    if np.isnan(truth):
        return np.nan
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(low <= truth <= high)


_MEASURES: dict[str, tuple[str, Callable[[FloatArray], Any]]] = {
    "bias": ("bias", np.mean),
    "bias_rms": ("bias", lambda x: np.sqrt(np.mean(np.square(x)))),
    # Ratios average on the log scale: 1/2 and 2 cancel.
    "sd_ratio": ("sd_ratio", lambda x: np.exp(np.mean(np.log(np.maximum(x, 1e-12))))),
    "wasserstein": ("wasserstein", np.mean),
}


def _with_interval(
    name: str, x: FloatArray, statistic: Callable[[FloatArray], Any], rng: np.random.Generator
) -> dict[str, float]:
    """A statistic with its 95 % bootstrap interval."""
    draws = [float(statistic(rng.choice(x, len(x)))) for _ in range(_N_BOOTSTRAP)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {name: float(statistic(x)), f"{name}_low": low, f"{name}_high": high}
