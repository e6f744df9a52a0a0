"""List what keeps readers out of a rendered book; exit 1 if there is anything.

Opens every page in Chromium as readers meet it: light and dark, on a wide screen and on a phone,
with every folded part unfolded. axe-core (``tests/browser/vendor``) examines each; what it ranks
serious or critical counts, and so does a picture whose text alternative is missing or only a file
name, which axe-core lets pass. Without Chromium or Playwright it says so and exits 0.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chromium

ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / "tests" / "browser" / "vendor" / "axe-core" / "axe.min.js"
COUNTED = ("serious", "critical")  # of axe-core's four ranks
SHOWN_TARGETS = 3  # places named per rule and page

READY = """async () => {
  await window.MathJax?.startup?.promise;
  const folded = [...document.querySelectorAll("details:not([open])")];
  const buttons = [...document.querySelectorAll("button.toggle-button-hidden")];
  for (const part of folded) part.open = true;
  for (const button of buttons) button.click();
  // The theme looks for what scrolls a third of a second after a page has changed.
  if (folded.length + buttons.length) await new Promise((done) => setTimeout(done, 600));
}"""

EXAMINE = """async (counted) => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const found = violations.filter((v) => counted.includes(v.impact)).map((v) => ({
    rule: v.id, help: v.help, targets: v.nodes.map((n) => n.target.flat().join(" ")),
  }));
  const nameless = [...document.querySelectorAll("main img")]
    .filter((image) => !image.alt.trim() || /\\.(png|svg|jpe?g|gif|webp)$/i.test(image.alt))
    .filter((image) => image.getAttribute("role") !== "presentation")
    .map((image) => image.getAttribute("src").slice(0, 80));
  if (nameless.length) found.push({ rule: "figure-alt",
    help: "Pictures must say in words what they show", targets: nameless });
  return found;
}"""


@dataclass(frozen=True)
class Screen:
    """What a page is opened on."""

    name: str
    width: int  # px
    height: int
    colors: str  # "light" or "dark"


SCREENS = tuple(
    Screen(f"{device}, {colors}", *size, colors)
    for device, size in {"wide": (1280, 900), "phone": (390, 844)}.items()
    for colors in ("light", "dark")
)


@dataclass(frozen=True)
class Violation:
    """A rule that a page breaks, and the elements that break it."""

    rule: str
    help: str
    targets: tuple[str, ...]


def examine(page) -> list[Violation]:
    """Unfold an open page (Playwright's) and list what it does wrong."""
    page.evaluate(READY)
    page.evaluate(AXE.read_text())
    found = page.evaluate(EXAMINE, list(COUNTED))
    return [Violation(v["rule"], v["help"], tuple(v["targets"])) for v in found]


def examine_on(browser, address: str, screen: Screen) -> list[Violation]:
    """Open a page on a screen and list what it does wrong there."""
    context = browser.new_context(
        viewport={"width": screen.width, "height": screen.height}, color_scheme=screen.colors
    )
    try:
        page = context.new_page()
        page.goto(address)
        return examine(page)
    finally:
        context.close()


def report(path: str, found: dict[Violation, list[str]]) -> Iterator[str]:
    """Lines on one page; ``found`` says on which screens each violation was seen."""
    for violation, screens in found.items():
        yield f"{path}: {violation.rule}: {violation.help} ({'; '.join(screens)})"
        yield from (f"    {target}" for target in violation.targets[:SHOWN_TARGETS])
        if len(violation.targets) > SHOWN_TARGETS:
            yield f"    and {len(violation.targets) - SHOWN_TARGETS} more"


def check(browser, folder: Path) -> int:
    """Print what the pages of a folder do wrong; return how many violations there are."""
    number, pages = 0, chromium.pages_to_open(folder)
    for path in pages:
        found: dict[Violation, list[str]] = defaultdict(list)
        for screen in SCREENS:
            for violation in examine_on(browser, path.as_uri(), screen):
                found[violation].append(screen.name)
        number += len(found)
        print(*report(str(path.relative_to(folder)), found), sep="\n", end="\n" if found else "")
    print(f"{len(pages)} pages on {len(SCREENS)} screens, {number} accessibility violations")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=ROOT / "_build" / "html", help="rendered book"
    )
    folder = parser.parse_args().folder.resolve()
    if not folder.is_dir() or not chromium.pages_to_open(folder):
        print(f"{folder} has no pages: build the book first.", file=sys.stderr)
        return 2
    with chromium.opened() as browser:
        if browser is not None:
            return bool(check(browser, folder))
    print("Accessibility was not checked: it needs Chromium and Playwright.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
