"""Exercises of the book with instant checks.

`check` is what readers call. Each chapter's exercises are data in a module of their own, which is
found by its name; what is expected is computed by the library when it is first needed.
"""

from eamlab_book.exercises.check import check, exercises, table
from eamlab_book.exercises.exercise import GRADES, Exercise, Feedback, Mistake

__all__ = ["GRADES", "Exercise", "Feedback", "Mistake", "check", "exercises", "table"]
