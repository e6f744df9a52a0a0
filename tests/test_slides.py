"""The slides say what the guide says, show what the explorer answers, and need nothing else."""

import re

import make_slides
import pytest

from eamlab_book.widgets.composition import SCENES, Settings

GUIDE = make_slides.GUIDE.read_text(encoding="utf-8")
TOLD = make_slides.scenes(GUIDE)


def test_the_guide_has_the_first_eight_scenes_and_what_stands_before_each():
    names = [scene.name for scene in TOLD]
    assert names == list(SCENES)[:8]
    assert TOLD[0].before == ""  # the exact posterior alone
    for scene in TOLD[1:]:
        assert scene.before in names[: names.index(scene.name)]
    assert all(scene.ask.endswith("?") and len(scene.say) > 40 for scene in TOLD)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (GUIDE.replace(make_slides.HEAD, "| a | b |"), "must have a table"),
        (GUIDE.replace("| 6 multiply | 5", "| 6 divide | 5"), r"among .*, got \['6 divide'\]"),
        (GUIDE.replace("| 1 ten people | Th", "| 1 two people | Th"), "'1 two people'"),
        (GUIDE.replace("| It does. ", "It does. "), "four cells"),
    ],
)
def test_a_table_that_fits_no_scene_is_refused(broken, said):
    assert broken != GUIDE
    with pytest.raises(ValueError, match=said):
        make_slides.scenes(broken)


def test_every_question_comes_with_the_picture_before_and_its_sentence_with_the_next(monkeypatch):
    monkeypatch.setattr(make_slides, "shown", lambda name: f"[{name}]")
    page = make_slides.slides(TOLD)
    for scene in TOLD:
        for kind, name, text in (("ask", scene.before, scene.ask), ("say", scene.name, scene.say)):
            slide = re.search(rf'<section id="{kind}-{scene.name[0]}">(.*?)</section>', page)[1]
            assert f"[{name}]" in slide and f"{text}</p>" in slide
    assert page.count("<section") == 1 + 2 * len(TOLD)
    assert not re.search(r"https?:|<link|src=|@import|url\(", page)


def test_a_setting_is_told_in_words():
    assert make_slides.described(Settings(n_subjects=10)) == (
        "10 people, 2 groups of 5, scores added, mini-batches of 2."
    )
    bridge = make_slides.described(Settings(n_subjects=10_000, group_size=100, d0=0.1, d1=0.1))
    assert bridge.startswith("10,000 people, 100 groups of 100, ") and "d₀ = 0.1" in bridge
    assert make_slides.described(SCENES["6 multiply"]).endswith(", multiplied.")


@pytest.mark.slow
def test_a_figure_is_in_the_page_itself():
    gray, first = make_slides.shown(""), make_slides.shown("1 ten people")
    assert gray != first and all('src="data:image/png;base64,iVBOR' in s for s in (gray, first))
    assert re.search(r"Largest bias 0\.\d exact sds; median width × (0\.9|1\.0)", first)
