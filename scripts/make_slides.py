"""Write the explorer's scenes as slides: one HTML file that needs nothing else, and no network.

    python scripts/make_slides.py --out slides.html

Questions and sentences are those of the table in the instructor's guide; the pictures show what the
network answers to its scenes. A scene has two slides: the question below the picture before, the
sentence below the picture after. Arrow keys turn them; printed, each is a page.
"""

import argparse
import base64
import html
import io
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from contents import ROOT
from markdown_it import MarkdownIt

import eamlab as el
import eamlab_book as book
from eamlab_book.studies import DEMO_GROUP, load_demo
from eamlab_book.widgets.composition import SCENES, Sampler, Settings

GUIDE = ROOT / "book" / "instructors_guide.md"
HEAD = "| scene | on the screen before | ask | then say |"
SLIDES = Path(__file__).with_name("slides.html")


@dataclass(frozen=True)
class Scene:
    """Name, name of the scene before (empty: gray alone), question and sentence of one scene."""

    name: str
    before: str
    ask: str
    say: str


def scenes(guide: str) -> list[Scene]:
    """Return the scenes of the guide's table; before the first one stands gray alone.

    Raises
    ------
    ValueError
        If there is no such table, or it names a scene that the explorer does not have.
    """
    _, found, rest = guide.partition(f"\n{HEAD}\n")
    if not found:
        raise ValueError(f"the guide must have a table that begins with {HEAD!r}.")
    rows = [line.strip("| ").split(" | ") for line in rest.partition("\n\n")[0].splitlines()[1:]]
    if any(len(row) != len(HEAD.split(" | ")) for row in rows):
        raise ValueError(f"every row below {HEAD!r} must have four cells.")
    first, *others = (Scene(*(cell.strip() for cell in row)) for row in rows)
    named = [first.name, *(name for scene in others for name in (scene.name, scene.before))]
    if unknown := [name for name in named if name not in SCENES]:
        raise ValueError(f"the guide's scenes must be among {list(SCENES)}, got {unknown}.")
    return [replace(first, before=""), *others]


@cache
def sampler() -> Sampler:
    """Return the network, which answers as in the guide: the first time that it is asked."""
    return Sampler()


@cache
def shown(name: str, n_subjects: int = 10) -> str:
    """Return the figure of a scene in HTML; without a name what is known before the first one."""
    settings = SCENES.get(name, Settings(n_subjects=n_subjects))
    exact = load_demo(settings.n_subjects).exact
    if name:
        draws = sampler().draw(settings)
        table = el.grade(draws, exact, classify=False).table
        figure = book.figures.posterior_figure(draws, exact=exact, truth=DEMO_GROUP)
        bias, width = table["bias"].abs().max(), table["sd_ratio"].median()
        seen = f"Largest bias {bias:.1f} exact sds; median width × {width:.3g}."
    else:
        figure = book.figures.posterior_figure({"exact": exact}, truth=DEMO_GROUP)
        seen = "The exact posterior, and the prior (dashed)."
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=150)
        picture = base64.b64encode(buffer.getvalue()).decode()
    words = f"{described(settings) if name else f'{settings.n_subjects} people.'} {seen}"
    image = f'<img src="data:image/png;base64,{picture}" alt="{html.escape(words)}">'
    return f"<figure>{image}<figcaption>{html.escape(words)}</figcaption></figure>"


def described(settings: Settings) -> str:
    """Return where the sliders stand."""
    groups = len(settings.sizes())
    start = f"{settings.n_subjects:,} people, {groups:,} groups of {settings.group_size}"
    if settings.method == "gaussian":
        return f"{start}, multiplied."
    bridge = "" if settings.d0 == settings.d1 == 1 else f", d₀ = {settings.d0}, d₁ = {settings.d1}"
    batch = min(settings.mini_batch_size, groups)
    return f"{start}, scores added, mini-batches of {batch}{bridge}."


def slides(told: list[Scene]) -> str:
    """Return the page."""
    line = MarkdownIt("commonmark", {"html": False}).renderInline
    parts = []
    for scene in told:
        number, _, title = scene.name.partition(" ")
        for kind, when, picture, text in (
            ("ask", ", before", shown(scene.before), scene.ask),
            ("say", "", shown(scene.name), scene.say),
        ):
            heading = f"<h2><small>Scene {number}{when}</small> {html.escape(title)}</h2>"
            words = f'<p class="{kind}">{line(text)}</p>'
            parts.append(f'<section id="{kind}-{number}">{heading}{picture}{words}</section>')
    return SLIDES.read_text(encoding="utf-8").replace("<!-- scenes -->", "\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "slides.html")
    out = parser.parse_args().out
    book.figures.use_style()
    page = slides(scenes(GUIDE.read_text(encoding="utf-8")))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    print(f"The slides: {out.resolve().as_uri()}")


if __name__ == "__main__":
    main()
