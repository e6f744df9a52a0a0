"""Exercises of the book with instant checks.

`check` is what readers call. Each chapter's exercises are data in a module of their own, which is
found by its name; what is expected is computed by the library when it is first needed.
"""

from eamlab_book.exercises.check import cases, check, exercises, names, progress, question, table
from eamlab_book.exercises.exercise import GRADES, Case, Exercise, Feedback, Mistake

__all__ = [
    "GRADES",
    "Case",
    "Exercise",
    "Feedback",
    "Mistake",
    "cases",
    "check",
    "exercises",
    "names",
    "progress",
    "question",
    "table",
]
