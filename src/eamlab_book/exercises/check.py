"""Check an answer: right, a mistake that is known, or off in a way that can be described."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab_book.exercises.answers import Unusable, check_finite, normalized
from eamlab_book.exercises.exercise import Exercise, Feedback

__all__ = ["check", "exercises", "table"]

FloatArray = NDArray[np.float64]

_LEAST_P = 1e-4
"""Kind "sample": right draws are refused once in ten thousand times."""


def check(id: str, answer: Any) -> Feedback:
    """Check an answer to an exercise of the book.

    Parameters
    ----------
    id : str
        The exercise, such as "4.1".
    answer : object
        Numbers in any form (float, list, tuple, NumPy array, pandas object, tensor, or a mapping
        from names to numbers), a string for a choice, or the function that was asked for.

    Returns
    -------
    Feedback
        ``.correct``, and a message that says what is off; shown as the output of a cell.

    Raises
    ------
    ValueError
        If there is no such exercise.

    Examples
    --------
    >>> check("1.1", {"nu": 2.5, "alpha": 1.2}).correct
    True
    """
    exercise = _exercise(id)
    try:
        given = normalized(exercise, answer, _expected(exercise))
    except Unusable as error:
        return Feedback(exercise.id, False, str(error))
    if _is_right(exercise, given):
        return Feedback(exercise.id, True, exercise.right)
    message = _known_mistake(exercise, given) or _remark(exercise, given)
    return Feedback(exercise.id, False, message)


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


def _exercise(id: str) -> Exercise:
    found = exercises().get(id) if isinstance(id, str) else None
    if found is None:
        raise ValueError(f"id must be one of {', '.join(exercises())} (as text), got {id!r}.")
    return found


@cache
def _expected(exercise: Exercise) -> Any:
    """Compute the right answer once."""
    return exercise.expected()


@cache
def _right_answer(exercise: Exercise) -> Any:
    return normalized(exercise, _expected(exercise), _expected(exercise))


def _is_right(exercise: Exercise, given: Any) -> bool:
    if exercise.accepts is not None:
        return exercise.accepts(given)
    return _alike(exercise, given, _right_answer(exercise))


def _alike(exercise: Exercise, given: Any, other: Any) -> bool:
    """Whether two normalized answers are the same within the tolerance."""
    if exercise.kind == "choice":
        return bool(given == other)
    if np.shape(given) != np.shape(other) and exercise.kind != "sample":
        return False
    if exercise.kind == "sample":
        from scipy.stats import ks_2samp

        return bool(ks_2samp(given, other, method="asymp").pvalue > _LEAST_P)
    return bool(np.all(np.abs(given - other) <= exercise.atol + exercise.rtol * np.abs(other)))


def _known_mistake(exercise: Exercise, given: Any) -> str | None:
    for mistake in exercise.mistakes:
        if mistake.matches is not None:
            if mistake.matches(given):
                return mistake.message
            continue
        try:
            wrong = normalized(exercise, mistake.answer(), _expected(exercise))
        except Unusable:  # a wrong answer that is caught before it is compared
            continue
        if _alike(exercise, given, wrong):
            return mistake.message
    return None


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
    if exercise.accepts is not None or given.shape != right.shape:
        return "Not yet. Try the hint."
    with np.errstate(over="ignore"):
        for message, change in _GENERAL.items():
            if _alike(exercise, given, change(right)):
                return message
    return _where(exercise, given, right)


_NOT_YET = {
    "choice": "No. Try the experiment of the exercise.",
    "sample": "These draws have another distribution. Compare their histograms.",
}


def _where(exercise: Exercise, given: FloatArray, right: FloatArray) -> str:
    """Say which entries are off, and in which direction."""
    off = np.abs(given - right) > exercise.atol + exercise.rtol * np.abs(right)
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
