"""Exercises, quick questions and predictions, answered in a page without a kernel."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import served_and_on_disk

from eamlab_book.exercises import check

pytestmark = pytest.mark.browser

NAME = "book/01_chapter.html"


def open_again(page, kept: Callable[[], bool]) -> None:
    """Load the page again and again until it knows: a busy browser may store a moment late."""
    end = time.monotonic() + 10
    page.reload()
    while not kept() and time.monotonic() < end:
        page.reload()
    assert kept()


@served_and_on_disk
def test_answers_are_judged_kept_saved_and_forgotten(visit):
    page = visit(NAME, viewport={"width": 390, "height": 844})
    said = page.locator("#ex-1-1 [role=status]")
    page.get_by_label("nu").fill("0.025")
    page.get_by_label("alpha").fill("0.012")
    page.get_by_label("alpha").press("Enter")
    assert said.inner_text() == f"✗ {check('1.1', [0.025, 0.012]).message}"
    page.get_by_label("nu").fill("2.5")
    page.get_by_label("alpha").fill("1.2")
    page.get_by_label("alpha").press("Enter")
    assert said.inner_text() == f"✓ {check('1.1', [2.5, 1.2]).message}"
    page.get_by_label("Your answer to 1.5").fill("one")
    page.locator("#ex-1-5").get_by_role("button", name="Check").click()
    assert "is no number" in page.locator("#ex-1-5 [role=status]").inner_text()
    page.locator("#ex-3-5").get_by_label("b", exact=True).check()
    page.locator("#ex-3-5").get_by_role("button", name="Check").click()
    assert page.locator("#ex-3-5 [role=status]").inner_text().startswith("✓")
    page.get_by_label("Your prediction").fill("Yes, it is.")
    page.get_by_text("b) … none.").click()
    page.get_by_text("a) … one.").click()
    page.get_by_text("b) … two.").click()  # a second look is no second answer
    assert page.locator(".eam-chosen").all_inner_texts() == ["✓ your answer", "✗ your answer"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    open_again(page, lambda: said.inner_text().startswith("✓"))
    assert page.get_by_label("Your prediction").input_value() == "Yes, it is."
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my answers").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[1:] == [
        r"Prediction 1.1: Is \nu positive?",
        "Yes, it is.",
        "1.1 Other units (right, 2 tries)",
        "nu = 2.5, alpha = 1.2",
        "Quick question 1.A. None and none is … (right)",
        "b) … none.",
        "Quick question 1.C. One and one is … (not right)",
        "a) … one.",
        "3.5 Is the anchor worth it? (right)",
        "b",
    ]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Forget them").click()
    assert page.get_by_label("nu").input_value() == "" and said.inner_text() == ""
    open_again(page, lambda: page.get_by_label("Your prediction").input_value() == "")
    assert page.locator(".eam-chosen").count() == 0


DENIED = """for (const name of ["getItem", "setItem"]) {
  const own = Storage.prototype[name];
  Storage.prototype[name] = function (key, ...rest) {
    if (key === "eamlab-answers") throw new Error("denied");
    return own.call(this, key, ...rest);
  };
}"""


def test_answers_work_where_nothing_can_be_kept(visit):
    page = visit(NAME)
    page.context.add_init_script(DENIED)
    page.reload()
    page.get_by_label("Your answer to 1.5").fill("0.1")
    page.locator("#ex-1-5").get_by_role("button", name="Check").click()
    assert page.locator("#ex-1-5 [role=status]").inner_text().startswith("✗")
    assert "0 right of 1 answered" in page.locator(".eam-kept").inner_text()


OLD = '{"1.1": {"title": "1.1", "given": "1", "typed": [1, {}, "3"]}, "1.A": 5, "1.?1": {}}'


def test_what_was_kept_may_be_anything(visit):
    page = visit(NAME)
    for kept in ('"text"', "{", OLD, "null", "[]"):
        page.evaluate("(kept) => localStorage.setItem('eamlab-answers', kept)", kept)
        page.reload()
        assert page.locator("form.eam-form").count() == 3, kept


def test_answers_do_not_stand_in_the_page(site):
    text = (site / NAME).read_text(encoding="utf-8")
    message = check("1.1", [2.5, 1.2]).message
    assert message not in text and not re.search(r"You multiplied", text)
