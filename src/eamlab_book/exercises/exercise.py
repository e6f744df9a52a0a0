"""What an exercise, a typical mistake and the feedback on an answer are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

GRADES = ("check your understanding", "code it", "explore", "project")
"""How much an exercise asks for, from a line on paper to an afternoon."""

KINDS = ("number", "array", "named", "choice", "function", "sample")
"""What an answer is; see `Exercise`."""


BY_DATA = ("number", "named", "choice")
"""Kinds that are judged by numbers and names alone, so that a page without Python can, too."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers really give, and by what it is known.

    Parameters
    ----------
    answer : callable
        Makes the wrong answer, so that its numbers come from the library too.
    where : mapping, optional
        The mistake was made if every number named here lies between the two ends given for it,
        whatever the others are; by default if the answer equals the wrong one within the tolerance
        of the exercise.
    matches : callable, optional
        Tells the same from the normalized answer, for kinds that are not in `BY_DATA`.
    """

    answer: Callable[[], Any]
    where: Mapping[Any, tuple[float, float]] | None = None
    matches: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Case:
    """An answer that may come, and what is said to it: all that judging numbers and choices needs.

    Parameters
    ----------
    message : str
        What is said.
    correct : bool
        Whether such an answer is right.
    values : tuple of float or str
        The answer: its numbers, one after the other, or the option that is chosen.
    tolerance : tuple of float
        How far each number of such an answer may be from that of ``values``.
    rounded : bool
        Whether a number may also be that of ``values``, rounded to the fewer than three digits that
        it has, or to the one or two decimals of the whole answer.
    where : tuple of (int, float, float), optional
        Instead of all this: place of a number and the two ends between which it lies.
    """

    message: str
    correct: bool
    values: tuple[float, ...] | str
    tolerance: tuple[float, ...] = ()
    rounded: bool = False
    where: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Exercise:
    """One exercise and everything that is needed to check an answer to it.

    Parameters
    ----------
    id : str
        Chapter and number, such as "4.1".
    title : str
        As in the chapter.
    grade : str
        One of `GRADES`.
    kind : str
        One of `KINDS`. "number": a single one. "array": of the shape of the expected one. "named":
        a number for each name, as a mapping, a pandas Series or in order. "choice": a letter or a
        name. "function": compared on `inputs`. "sample": draws, compared as a distribution.
    expected : callable
        Computes a right answer (for "function": returns one that is right).
    mistakes : mapping of str to Mistake, or to what makes the wrong answer
        By what a reader is told: what is off, and where to look. It does not give the answer away.
        Looked for in this order.
    right : str
        What a right answer shows.
    rtol : float
        An answer is right within ``atol + rtol * abs(expected)``.
    atol : float or callable
        A callable returns one for each number.
    options : tuple of str
        The choices of kind "choice".
    inputs : callable, optional
        Kind "function": returns the argument tuples on which functions are compared.
    call : str
        Kind "function": how the answer is called, for messages.
    names : tuple of str
        Kinds "array" and "function": what the last axis of the answer is about, for answers by
        name, in any order.
    fewest : int
        Kind "sample": fewer draws could not tell a right answer from a wrong one.
    accepts : callable, optional
        Decides instead of the comparison, where more than one answer is right. Takes the
        normalized answer; not for kinds that are in `BY_DATA`.
    vary : callable, optional
        Takes a generator of random numbers and returns the exercise with other numbers.
    text : str
        What such a variant asks; the book has the text of the exercise itself.
    """

    id: str
    title: str
    grade: str
    kind: str
    expected: Callable[[], Any]
    mistakes: Mapping[str, Callable[[], Any] | Mistake] = field(hash=False)
    right: str
    rtol: float = 0.01
    atol: float | Callable[[], Any] = 1e-9
    options: tuple[str, ...] = ()
    inputs: Callable[[], tuple[tuple[Any, ...], ...]] | None = None
    call: str = ""
    names: tuple[str, ...] = ()
    fewest: int = 200
    accepts: Callable[[Any], bool] | None = None
    vary: Callable[[np.random.Generator], Exercise] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.grade not in GRADES or self.kind not in KINDS:
            raise ValueError(
                f"exercise {self.id}: grade must be one of {GRADES} and kind one of {KINDS}, got "
                f"{self.grade!r} and {self.kind!r}."
            )
        by_code = self.accepts or any(mistake.matches for _, mistake in self.known())
        if self.kind in BY_DATA and by_code:
            raise ValueError(
                f"exercise {self.id}: kind {self.kind!r} takes no `accepts` and no `matches`; give "
                "tolerances and `where`."
            )

    def known(self) -> Iterator[tuple[str, Mistake]]:
        """Yield every mistake after what is said to it."""
        for said, made in self.mistakes.items():
            yield said, made if isinstance(made, Mistake) else Mistake(made)

    @property
    def label(self) -> str:
        """Label of the exercise in the chapter's source."""
        return f"ex-{self.id.replace('.', '-')}"


@dataclass(frozen=True)
class Feedback:
    """The answer to an answer.

    Attributes
    ----------
    id : str
        The exercise.
    correct : bool
        Whether the answer is right; also the truth value of the feedback.
    message : str
        What it shows, or what is off.
    """

    id: str
    correct: bool
    message: str

    def __bool__(self) -> bool:
        return self.correct

    def __repr__(self) -> str:
        return f"{self._mark} {self.id}: {self.message}"

    def _repr_html_(self) -> str:
        """Text in the page's own color, so that it is legible on light and dark pages."""
        color = "#2e8540" if self.correct else "#d14905"
        style = f"border-inline-start: 0.3em solid {color}; padding: 0.2em 0.8em"
        text = f"<strong>{self._mark} {escape(self.id)}</strong> {escape(self.message)}"
        return f'<div role="status" style="{style}">{text}</div>'

    @property
    def _mark(self) -> str:
        return "✓" if self.correct else "✗"
