"""Turn whatever a reader hands in into one form that can be compared."""

from __future__ import annotations

import _thread
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab_book.exercises.exercise import Exercise

FloatArray = NDArray[np.float64]

LIMIT = 20.0
"""Seconds after which a function that was handed in is stopped."""


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
    if answer is ...:
        raise Unusable("Put your answer in the place of the three dots.")
    if exercise.kind == "choice":
        return _choice(answer, exercise.options)
    if exercise.kind == "function":
        return _values(exercise, answer)
    if callable(answer) and not hasattr(answer, "__array__"):
        raise Unusable("This is a function. Call it, and hand in what it returns.")
    if exercise.kind == "named":
        return _named(answer, tuple(like))
    array = as_array(_in_order(answer, exercise.names))
    if exercise.kind == "number":
        return _one(array)
    if exercise.kind == "sample":
        return _draws(array, exercise.fewest)
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
    except OverflowError:
        raise Unusable("A number is too large: more than 300 digits.") from None
    except (TypeError, ValueError):
        raise Unusable(
            "These are not all numbers, or rows of different length; hand in a number, a list, or "
            "an array."
        ) from None


def _one(array: FloatArray) -> FloatArray:
    if array.size != 1:
        raise Unusable(f"One number is asked for, and this has the shape {array.shape}.")
    return array.reshape(())


def _draws(array: FloatArray, fewest: int) -> FloatArray:
    if max(array.shape, default=1) != array.size:
        raise Unusable(
            f"The draws of one variable are asked for, and this has the shape {array.shape}."
        )
    if array.size < fewest:
        raise Unusable(f"Hand in at least {fewest:,} draws; these are {array.size:,}.")
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
    array = as_array(_in_order(answer, names))
    if array.size != len(names):
        listed = ", ".join(map(str, names))
        raise Unusable(f"{len(names)} numbers are asked for ({listed}); this has {array.size}.")
    return array.ravel()


def _in_order(answer: Any, names: tuple[Any, ...]) -> Any:
    """The parts of an answer by name in the order of ``names``; any other answer as it is."""
    if isinstance(answer, pd.DataFrame):
        if names and set(names) <= set(answer.columns):
            return answer[list(names)]
        return answer.loc[list(names)] if names and set(names) <= set(answer.index) else answer
    if isinstance(answer, pd.Series):
        if isinstance(answer.index, pd.RangeIndex):
            return answer.to_numpy()
        answer = answer.to_dict()
    if not isinstance(answer, Mapping):
        return answer
    if not names:
        return list(answer.values())
    found = {_key(key): value for key, value in answer.items()}
    if missing := [str(name) for name in names if _key(name) not in found]:
        raise Unusable(
            f"These names are missing: {', '.join(missing)}. Use the names "
            f"{', '.join(map(str, names))}; or give the numbers without names, in this order."
        )
    parts = [_numbers(found[_key(name)]) for name in names]
    if all(part.size == 1 for part in parts):
        return np.array([part.item() for part in parts])
    if len({part.shape for part in parts}) > 1:
        raise Unusable("The parts have different shapes.")
    return np.stack(parts, axis=-1)


def _key(name: Any) -> str:
    """Text of a name; 4, 4.0 and "4" are the same."""
    try:
        return f"{float(name):g}"
    except (TypeError, ValueError):
        return str(name)


def _choice(answer: Any, options: Sequence[str]) -> str:
    """The option that is meant: " B) ", ["b"], "b: both" and "10,000" are as good as the letter."""
    only = np.asarray(answer, dtype=object).ravel()
    text = re.split(r"[).:\s]", str(only[0] if only.size == 1 else answer).strip("( "))[0]
    by_text = {option.casefold(): option for option in options}
    found = by_text.get(_key(text.replace(",", "")).casefold())
    if found is None:
        raise Unusable(f"Choose one of {', '.join(options)}; this is {answer!r}.")
    return found


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
            with np.errstate(all="ignore"), _time_limit():
                value = answer(*arguments)
        except Unusable:
            raise
        except (Exception, SystemExit) as error:  # whatever a reader's code raises
            raise Unusable(
                f"Your function stops with {type(error).__name__}: {error}. It is called as "
                f"{exercise.call}."
            ) from None
        values.append(_numbers(_in_order(value, exercise.names)).ravel())
    return np.concatenate(values)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Stop what runs inside after `LIMIT` seconds; Python can do so in its main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reached = threading.Event()

    def stop() -> None:
        reached.set()
        _thread.interrupt_main()

    timer = threading.Timer(LIMIT, stop)
    timer.daemon = True
    # A program that was started in the background ignores interrupts, this one too.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # or its interrupt might come later, and hit something else
    except KeyboardInterrupt:
        if not reached.is_set():
            raise
        raise Unusable(
            f"Your function did not come to an end within {LIMIT:g} seconds: an endless loop?"
        ) from None
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
