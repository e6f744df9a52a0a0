"""What an exercise, a typical mistake and the feedback on an answer are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["GRADES", "KINDS", "Exercise", "Feedback", "Mistake"]

GRADES = ("check your understanding", "code it", "explore", "project")
"""How much an exercise asks for, from a line on paper to an afternoon."""

KINDS = ("number", "array", "named", "choice", "function", "sample")
"""What an answer is; see `Exercise`."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers really give, and what to tell them.

    Parameters
    ----------
    message : str
        What is off, and where to look. It does not give the answer away.
    answer : callable
        Makes the wrong answer, so that its numbers come from the library too.
    matches : callable, optional
        Tells from the normalized answer whether this mistake was made; by default an answer that
        equals the wrong one within the tolerance of the exercise.
    """

    message: str
    answer: Callable[[], Any]
    matches: Callable[[Any], bool] | None = None


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
    mistakes : tuple of Mistake
        Looked for in this order.
    right : str
        What a right answer shows.
    rtol, atol : float
        An answer is right within ``atol + rtol * abs(expected)``.
    options : tuple of str
        The choices of kind "choice".
    inputs : callable, optional
        Kind "function": returns the argument tuples on which functions are compared.
    call : str
        Kind "function": how the answer is called, for messages.
    accepts : callable, optional
        Decides instead of the comparison, where more than one answer is right. Takes the
        normalized answer.
    """

    id: str
    title: str
    grade: str
    kind: str
    expected: Callable[[], Any]
    mistakes: tuple[Mistake, ...]
    right: str
    rtol: float = 0.01
    atol: float = 1e-9
    options: tuple[str, ...] = ()
    inputs: Callable[[], tuple[tuple[Any, ...], ...]] | None = None
    call: str = ""
    accepts: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        if self.grade not in GRADES or self.kind not in KINDS:
            raise ValueError(
                f"exercise {self.id}: grade must be one of {GRADES} and kind one of {KINDS}, got "
                f"{self.grade!r} and {self.kind!r}."
            )

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
