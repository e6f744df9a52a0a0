"""Check an answer: right, a mistake that is known, or off in a way that can be described."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab_book.exercises.answers import Unusable, check_finite, normalized
from eamlab_book.exercises.exercise import Case, Exercise, Feedback

FloatArray = NDArray[np.float64]

_LEAST_P = 1e-4
"""Kind "sample": right draws are refused once in ten thousand times."""


def check(id: str, answer: Any, *, variant: int | None = None) -> Feedback:
    """Check an answer to an exercise of the book.

    Parameters
    ----------
    id : str
        The exercise, such as "4.1".
    answer : object
        Numbers with three digits or more, in any form (float, list, tuple, NumPy array, pandas
        object, tensor, or a mapping from names to numbers), a string for a choice, or the function
        that was asked for.
    variant : int, optional
        The answer is one to `question` with this number, not to the exercise as the book has it.

    Returns
    -------
    Feedback
        ``.correct``, and a message that says what is off; shown as the output of a cell.

    Raises
    ------
    ValueError
        If there is no such exercise, or it has no variants.

    Examples
    --------
    >>> check("1.1", {"nu": 2.5, "alpha": 1.2}).correct
    True
    """
    feedback = _judge(_exercise(id, variant), answer)
    _ANSWERED.setdefault(id, []).append(feedback.correct)
    return feedback


def question(id: str, *, variant: int) -> str:
    """Return the question of an exercise with other numbers, for `check` with the same variant.

    Parameters
    ----------
    id : str
        The exercise, such as "1.1".
    variant : int
        Which numbers, such as a student's own; 0 or more.

    Raises
    ------
    ValueError
        If there is no such exercise, or it has no variants.

    Examples
    --------
    >>> question("7.3", variant=1)[:41]
    'True drifts have a standard deviation of '
    """
    return _exercise(id, variant).text


def progress() -> pd.DataFrame:
    """Return what was handed to `check` since Python was started, or the kernel.

    Returns
    -------
    DataFrame
        One row per exercise: chapter, title, the number of tries, and whether one was right.
    """
    index = table()
    tries = [_ANSWERED.get(id, []) for id in index.index]
    return index[["chapter", "title"]].assign(tries=[*map(len, tries)], right=[*map(any, tries)])


_ANSWERED: dict[str, list[bool]] = {}
"""By exercise, which of the answers were right."""


def cases(id: str) -> tuple[Case, ...]:
    """Return what `check` compares an answer with, in this order; the first that fits is said.

    Parameters
    ----------
    id : str
        The exercise, such as "4.1".

    Returns
    -------
    tuple of Case
        The right answer, the same with fewer than three digits, the known mistakes, and what goes
        wrong in any exercise with numbers. Enough to judge the kinds "number", "named" and
        "choice" without Python.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    return tuple(case for case, _ in _all_cases(_exercise(id)))


def names(id: str) -> tuple[str, ...]:
    """Return the names that an answer consists of.

    Parameters
    ----------
    id : str
        The exercise, such as "4.1".

    Returns
    -------
    tuple of str
        The options of a choice; the names of named numbers, in the order of `Case.values`; else
        nothing.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    exercise = _exercise(id)
    return exercise.options or tuple(
        map(str, _expected(exercise) if exercise.kind == "named" else ())
    )


@cache
def exercises() -> dict[str, Exercise]:
    """Return all exercises by id, in the order of the book: those of every ``chapter*.py`` here."""
    package = import_module("eamlab_book.exercises")
    names = (module.name for module in iter_modules(package.__path__, f"{package.__name__}."))
    modules = [import_module(name) for name in names if ".chapter" in name]
    found = (exercise for module in modules for exercise in module.EXERCISES)
    return {e.id: e for e in sorted(found, key=lambda e: [int(n) for n in e.id.split(".")])}


def table() -> pd.DataFrame:
    """Return an index of all exercises.

    Returns
    -------
    DataFrame
        One row per exercise: chapter, title, grade and what kind of answer it asks for.
    """
    rows = [
        {"exercise": e.id, "chapter": int(e.id.split(".")[0]), "title": e.title}
        | {"grade": e.grade, "answer": e.kind}
        for e in exercises().values()
    ]
    return pd.DataFrame(rows).set_index("exercise")


def _exercise(id: str, variant: int | None = None) -> Exercise:
    found = exercises().get(id) if isinstance(id, str) else None
    if found is None:
        raise ValueError(f"id must be one of {', '.join(exercises())} (as text), got {id!r}.")
    return found if variant is None else _varied(found, variant)


@cache
def _varied(exercise: Exercise, variant: int) -> Exercise:
    """Return an exercise with other numbers, the same for the same variant."""
    if exercise.vary is None:
        able = ", ".join(e.id for e in exercises().values() if e.vary)
        raise ValueError(f"exercise {exercise.id} has no variants; these have: {able}.")
    if not isinstance(variant, int) or isinstance(variant, bool) or variant < 0:
        raise ValueError(f"variant must be a whole number, 0 or more, got {variant!r}.")
    return exercise.vary(np.random.default_rng([variant, *exercise.id.encode()]))


def _judge(exercise: Exercise, answer: Any) -> Feedback:
    try:
        given = normalized(exercise, answer, _expected(exercise))
    except Unusable as error:
        return Feedback(exercise.id, False, str(error))
    if exercise.accepts is not None and exercise.accepts(given):
        return Feedback(exercise.id, True, exercise.right)
    for case, matches in _all_cases(exercise):
        if matches(given) if matches is not None else _fits(exercise, case, given):
            return Feedback(exercise.id, case.correct, case.message)
    return Feedback(exercise.id, False, _remark(exercise, given))


@cache
def _expected(exercise: Exercise) -> Any:
    """Compute the right answer once."""
    return exercise.expected()


@cache
def _right_answer(exercise: Exercise) -> Any:
    return normalized(exercise, _expected(exercise), _expected(exercise))


@cache
def _all_cases(exercise: Exercise) -> tuple[tuple[Case, Callable[[Any], bool] | None], ...]:
    """Every case, and the code that recognizes it where numbers are not enough."""
    right = _right_answer(exercise)
    made: list[tuple[Case, Callable[[Any], bool] | None]] = []
    if exercise.accepts is None:
        made.append((_case(exercise, exercise.right, right, correct=True), None))
        if exercise.kind not in ("choice", "sample"):
            made.append((_case(exercise, _FEW_DIGITS, right, rounded=True), None))
    for said, mistake in exercise.known():
        try:
            wrong = normalized(exercise, mistake.answer(), _expected(exercise))
        except Unusable:  # a wrong answer that is caught before it is compared
            continue
        case = _case(exercise, said, wrong, rounded=True)
        if mistake.where is not None:
            places = [str(name) for name in _expected(exercise)]
            ends = ((places.index(str(k)), *_finite(*ab)) for k, ab in mistake.where.items())
            case = replace(case, where=tuple(ends))
        made.append((case, mistake.matches))
    if exercise.kind not in ("choice", "sample") and exercise.accepts is None:
        with np.errstate(over="ignore"):
            wrong_in_general = {message: change(right) for message, change in _GENERAL.items()}
        for message, wrong in wrong_in_general.items():
            if np.isfinite(wrong).all():  # what is 100 times as large may be off by as much more
                scale = np.abs(wrong / np.where(right == 0, np.inf, right))
                made.append((_case(exercise, message, wrong, rounded=True, scale=scale), None))
    return tuple(made)


def _finite(low: float, high: float) -> tuple[float, float]:
    """The ends of an interval without infinity, which JSON does not know."""
    return max(low, -sys.float_info.max), min(high, sys.float_info.max)


def _case(
    exercise: Exercise,
    message: str,
    answer: Any,
    *,
    correct: bool = False,
    rounded: bool = False,
    scale: Any = 1.0,
) -> Case:
    if exercise.kind == "choice":
        return Case(message, correct, answer)
    given = np.asarray(answer)
    atol = exercise.atol() if callable(exercise.atol) else exercise.atol
    tolerance = np.broadcast_to(scale * atol + exercise.rtol * np.abs(given), given.shape)
    values, reach = (tuple(part.ravel().tolist()) for part in (given, tolerance))
    return Case(message, correct, values, reach, rounded)


def _fits(exercise: Exercise, case: Case, given: Any) -> bool:
    """Whether a normalized answer is that of a case."""
    if exercise.kind == "choice":
        return bool(given == case.values)
    found = np.ravel(given)
    if exercise.kind == "sample":
        return _same_distribution(found, np.array(case.values))
    if case.where:
        return all(low <= found[place] <= high for place, low, high in case.where)
    return len(found) == len(case.values) and bool(np.all(_near(case, found)))


def _near(case: Case, found: FloatArray) -> NDArray[np.bool_]:
    """Which numbers are those of a case: within the tolerance, or rounded where that is allowed.

    Rounded to one or two digits each, or all to the one or two decimals that the answer has.
    """
    values = np.array(case.values)
    distance = np.abs(found - values)
    near = distance <= case.tolerance
    if not case.rounded:
        return near
    near |= [*map(_is_rounded, found, values)]
    for unit in (10, 100):
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.abs(found * unit - np.round(found * unit)) < _A_FLOAT
        if whole.all() and np.abs(values).max() >= 1 / unit:
            return near | (distance <= 0.5 / unit + _A_FLOAT)
    return near


def _same_distribution(one: FloatArray, other: FloatArray) -> bool:
    """Whether draws may be of the same distribution: by their quantiles and by their spread."""
    from scipy.stats import ks_2samp, mood

    least = min(ks_2samp(one, other, method="asymp").pvalue, mood(one, other).pvalue)
    return bool(least > _LEAST_P / 2)


def _is_rounded(given: float, value: float) -> bool:
    """Whether ``given`` has one or two digits, and is ``value`` with no more than these.

    A half may be rounded up or to the even digit: both are taught.
    """
    digits = len(f"{abs(given):.5e}".partition("e")[0].replace(".", "").rstrip("0"))
    nearby = (value * (1 - _AN_ULP_OR_SO), value * (1 + _AN_ULP_OR_SO))
    return digits in (1, 2) and any(float(f"{v:.{digits - 1}e}") == given for v in nearby)


_AN_ULP_OR_SO, _A_FLOAT = 1e-15, 1e-9


_FEW_DIGITS = "Right as far as it goes: hand in three digits or more."

# What goes wrong in any exercise with numbers: how the right answer e becomes the one given.
_GENERAL: dict[str, Callable[[FloatArray], FloatArray]] = {
    "The size is right, the sign is the wrong way round.": lambda e: -e,
    "Off by a factor of 1000: seconds or milliseconds?": lambda e: 1000 * e,
    "Off by a factor of 1/1000: seconds or milliseconds?": lambda e: e / 1000,
    "Off by a factor of 100: a share is asked for, not percent.": lambda e: 100 * e,
    "This is the square of the answer: a variance instead of a standard deviation?": np.square,
    "This is the square root of the answer: take the variance, not the standard deviation?": (
        lambda e: np.sqrt(np.where(e >= 0, e, np.nan))
    ),
    "This is the exponential of the answer: stay on the log scale.": np.exp,
    "This is the logarithm of the answer: undo the log scale.": (
        lambda e: np.log(np.where(e > 0, e, np.nan))
    ),
    "Upside down: this is one over the answer.": lambda e: 1 / np.where(e != 0, e, np.nan),
    "Too large by a factor of √2.": lambda e: np.sqrt(2) * e,
    "Too small by a factor of √2.": lambda e: e / np.sqrt(2),
    "Too large by a factor of 2.": lambda e: 2 * e,
    "Too small by a factor of 2.": lambda e: e / 2,
    "Off by a sign and a factor of 2.": lambda e: -2 * e,
    "The right numbers in the reverse order.": lambda e: e[::-1] if e.ndim else e,
}


def _remark(exercise: Exercise, given: Any) -> str:
    """Describe an answer that is wrong in no way that the exercise knows."""
    if exercise.kind in ("choice", "sample"):
        return _NOT_YET[exercise.kind]
    try:
        check_finite(given)
    except Unusable as error:
        return str(error)
    right = _right_answer(exercise)
    if given.shape != right.shape and exercise.inputs is not None:
        calls = len(exercise.inputs())
        each, expected = (f"{array.size / calls:g}" for array in (given, right))
        return f"Your function returns {each} values a call; it should be {expected}. Try the hint."
    if exercise.accepts is not None:
        return "Not yet. Try the hint."
    return _where(exercise, given, right)


_NOT_YET = {
    "choice": "No. Try the experiment of the exercise.",
    "sample": "These draws have another distribution. Compare their histograms.",
}


def _where(exercise: Exercise, given: FloatArray, right: FloatArray) -> str:
    """Say which entries are off, and in which direction."""
    off = np.reshape(~_near(_all_cases(exercise)[1][0], given.ravel()), right.shape)
    above = np.where(given > right, "too large", "too small")
    if right.ndim == 0:
        return f"Not yet: your number is {above}."
    if exercise.kind == "named":
        names = [str(name) for name in _expected(exercise)]
        told = [f"{n} is {a}" for n, a, o in zip(names, above, off, strict=True) if o]
        return f"Not yet: {', '.join(told)}."
    if exercise.kind == "function":
        return f"Right for {off.size - off.sum()} of {off.size} values only. Try the hint."
    return f"{off.sum()} of the {off.size} entries are off. Try the hint."
