"""Turn whatever a reader hands in into one form that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab_book.exercises.exercise import Exercise

__all__ = ["Unusable", "check_finite", "normalized"]

FloatArray = NDArray[np.float64]

_FEWEST_DRAWS = 200
"""Fewer draws could not tell a right sampler from a wrong one."""


class Unusable(Exception):
    """The answer cannot be compared; the message says why."""


def normalized(exercise: Exercise, answer: Any, like: Any) -> Any:
    """Return the answer in the form of its kind: text, or a float array.

    Parameters
    ----------
    exercise : Exercise
        Its kind decides.
    answer : object
        What was handed in.
    like : object
        A right answer, for its names and shape.

    Raises
    ------
    Unusable
        If it cannot be an answer to this exercise.
    """
    if exercise.kind == "choice":
        return _choice(answer, exercise.options)
    if exercise.kind == "function":
        return _values(exercise, answer)
    if callable(answer) and not hasattr(answer, "__array__"):
        raise Unusable("This is a function. Call it, and hand in what it returns.")
    if exercise.kind == "named":
        return _named(answer, tuple(like))
    array = as_array(answer)
    if exercise.kind == "number":
        return _one(array)
    if exercise.kind == "sample":
        return _draws(array)
    return _shaped(array, np.shape(like))


def as_array(answer: Any) -> FloatArray:
    """Turn numbers, lists, NumPy arrays, pandas objects and tensors into a finite float array."""
    array = _numbers(answer)
    check_finite(array)
    return array


def check_finite(array: FloatArray) -> None:
    """Refuse NaN and infinity."""
    if np.isnan(array).any():
        raise Unusable("The answer contains NaN: a 0/0, or the logarithm of a negative number?")
    if not np.isfinite(array).all():
        raise Unusable("The answer is infinite: a division by zero, or a sampler that exploded?")


def _detached(answer: Any) -> Any:
    """Take tensors that record gradients off their tape (PyTorch refuses to convert them)."""
    if isinstance(answer, list | tuple):
        return [_detached(part) for part in answer]
    return answer.detach().cpu().numpy() if hasattr(answer, "detach") else answer


def _numbers(answer: Any) -> FloatArray:
    if answer is None:
        raise Unusable("The answer is None. Does your function end with a return?")
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    try:
        array = np.asarray(_detached(answer))
        if array.size == 0:
            raise Unusable("The answer is empty.")
        if array.dtype.kind == "b":
            raise Unusable("True and False are no numbers here.")
        if array.dtype.kind in "US":
            raise Unusable("This is text. Hand in the number itself, without quotes.")
        if array.dtype.kind == "c":
            raise Unusable("The answer is complex: the root of a negative number?")
        return array.astype(float)
    except (TypeError, ValueError):
        raise Unusable(
            "These are not all numbers, or rows of different length; hand in a number, a list, or "
            "an array."
        ) from None


def _one(array: FloatArray) -> FloatArray:
    if array.size != 1:
        raise Unusable(f"One number is asked for, and this has the shape {array.shape}.")
    return array.reshape(())


def _draws(array: FloatArray) -> FloatArray:
    if max(array.shape, default=1) != array.size:
        raise Unusable(
            f"The draws of one variable are asked for, and this has the shape {array.shape}."
        )
    if array.size < _FEWEST_DRAWS:
        raise Unusable(f"Hand in at least {_FEWEST_DRAWS} draws; these are {array.size}.")
    return array.ravel()


def _shaped(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    if array.squeeze().shape == tuple(n for n in shape if n > 1):
        return array.reshape(shape)
    if array.shape == shape[::-1]:
        raise Unusable(f"The shape is {array.shape}: transpose it to {shape}.")
    raise Unusable(f"The shape should be {shape}, and is {array.shape}.")


def _named(answer: Any, names: tuple[Any, ...]) -> FloatArray:
    """Return one number per name; without names they are taken in order."""
    if isinstance(answer, pd.DataFrame) and 1 in answer.shape:
        answer = answer.iloc[0] if len(answer) == 1 else answer.iloc[:, 0]
    if isinstance(answer, pd.Series | Mapping):
        found = {_key(key): value for key, value in dict(answer).items()}
        missing = [str(name) for name in names if _key(name) not in found]
        if missing:
            raise Unusable(f"These names are missing: {', '.join(missing)}.")
        return np.array([_one(as_array(found[_key(name)])) for name in names])
    array = as_array(answer)
    if array.size != len(names):
        listed = ", ".join(map(str, names))
        raise Unusable(f"{len(names)} numbers are asked for ({listed}); this has {array.size}.")
    return array.ravel()


def _key(name: Any) -> str:
    """Text of a name; 4, 4.0 and "4" are the same."""
    try:
        return f"{float(name):g}"
    except (TypeError, ValueError):
        return str(name)


def _choice(answer: Any, options: Sequence[str]) -> str:
    text = str(answer).strip().strip("().").casefold()
    by_text = {option.casefold(): option for option in options}
    if text not in by_text:
        raise Unusable(f"Choose one of {', '.join(options)}; this is {answer!r}.")
    return by_text[text]


def _values(exercise: Exercise, answer: Any) -> FloatArray:
    """Return what the function gives for the exercise's inputs, one after the other, or NaN."""
    if not callable(answer):
        raise Unusable(
            f"A function is asked for, called as {exercise.call}: hand it in by its name, without "
            "calling it."
        )
    assert exercise.inputs is not None
    values = []
    for arguments in exercise.inputs():
        try:
            with np.errstate(all="ignore"):
                value = answer(*arguments)
        except Exception as error:  # whatever a reader's code raises
            raise Unusable(
                f"Your function stops with {type(error).__name__}: {error}. It is called as "
                f"{exercise.call}."
            ) from None
        values.append(_numbers(value).ravel())
    return np.concatenate(values)
