"""Answers judged in a page: what the script says is what the check says."""

import json
from dataclasses import replace

import numpy as np
import pytest
from page_scripts import in_page, needs_node

from eamlab_book.exercises import cases, check, exercises
from eamlab_book.exercises.exercise import BY_DATA
from eamlab_book.sphinxext.answers import for_page

ALL = [e for e in exercises().values() if e.kind in BY_DATA]
SCRIPTS = ("core.js", "exercises.js")
FACTORS = (1, -1, 0, 1.001, 1.03, 1e308)


def run(code, inputs):
    return in_page(code, inputs, scripts=SCRIPTS)


def answers_to(exercise) -> list:
    """Right and wrong answers: options, or numbers as a page has them."""
    if exercise.kind == "choice":
        return list(exercise.options)
    found, rng = [], np.random.default_rng([*exercise.id.encode()])
    for case in cases(exercise.id):
        given = np.array(case.values)
        with np.errstate(over="ignore"):
            found += [factor * given for factor in FACTORS]
        found += [np.array([float(f"{x:.{n}e}") for x in given]) for n in range(3)]
        found += [given.round(n) for n in range(3)]
        found += [np.where(np.arange(given.size) == 0, given, given.round(2)), 2 * given.round(2)]
        found += [np.where(np.arange(given.size) == 0, 1.3 * given, found[-4])]
        found += [given[::-1], given * rng.uniform(0.98, 1.02, given.shape)]
    return [[float(x) for x in one] for one in found if np.isfinite(one).all()]


@needs_node
def test_the_page_says_what_the_check_says():
    told = [(for_page(e), answers_to(e)) for e in ALL]
    assert sum(len(given) for _, given in told) > 2000
    code = "return inputs.map(([told, given]) => given.map((one) => eamlab.judge(told, one)))"
    for exercise, (_, given), found in zip(ALL, told, run(code, told), strict=True):
        for answer, said in zip(given, found, strict=True):
            feedback = check(exercise.id, answer)
            assert said == {"correct": feedback.correct, "message": feedback.message}, answer


def test_data_for_a_page_are_json_as_browsers_read_it():
    for exercise in ALL:
        assert json.dumps(for_page(exercise), allow_nan=False)
    assert len(ALL) >= 39


@needs_node
@pytest.mark.parametrize(("value", "given"), [(2.5, [2.0, 3.0]), (0.35, [0.3, 0.4])])
def test_a_half_may_be_rounded_either_way(monkeypatch, value, given):
    exercise = replace(exercises()["1.5"], id="1.99", expected=lambda: value, mistakes={}, rtol=0.0)
    monkeypatch.setitem(exercises(), "1.99", exercise)
    found = run(
        "return inputs[1].map((x) => eamlab.judge(inputs[0], [x]).message)",
        [for_page(exercise), given],
    )
    assert all(message.startswith("Right as far as it goes") for message in found)
    assert found == [check("1.99", x).message for x in given]


@needs_node
def test_what_is_typed_is_read_or_refused():
    code = """return inputs.map(([names, texts]) => {
      try { return eamlab.readNumbers(names, texts); } catch (error) { return error.message; }
    })"""
    typed = {
        "0.62": [0.62],
        " −1.5e-3 ": [-0.0015],
        ".5": [0.5],
        "+3.": [3],
        "": "number is missing",
        "0,62": "without commas",
        "62 %": "not percent",
        "0x10": "“0x10” is no number",
        "1/3": "is no number",
        "NaN": "is no number",
        "Infinity": "is no number",
    }
    found = run(code, [[[], [text]] for text in typed])
    for said, expected in zip(found, typed.values(), strict=True):
        assert said == expected if isinstance(expected, list) else expected in said
    assert run(code, [[["nu", "alpha"], ["1", ""]]]) == ["alpha: a number is missing."]


@needs_node
def test_the_text_for_the_lecturer():
    answers = {
        "2.1": {"title": "2.1 Logs", "given": "1", "correct": False, "tries": 3},
        "1.10": {"title": "1.10 Ten", "given": "nu = 2.5", "correct": True, "tries": 1},
        "1.2": {"title": "1.2 Two", "given": "b", "correct": True, "tries": 1},
        "1.?1": {"title": "Prediction 1.1: Longer?", "given": "as long,\nI think"},
    }
    text = run('return eamlab.answersAsText(inputs, "2026-01-31")', answers)
    assert text.splitlines()[0].endswith("until 2026-01-31")
    assert [line for line in text.splitlines()[2:] if line[:1].strip()] == [
        "Prediction 1.1: Longer?",
        "1.2 Two (right)",
        "1.10 Ten (right)",
        "2.1 Logs (not right, 3 tries)",
    ]
    assert "    as long,\n    I think" in text
