"""List everything that a rendered book would fetch from a network; exit 1 if there is anything.

Reads every page, style sheet and picture of a folder as a browser does when it opens the page:
links that a reader follows are fine, resources that the page loads by itself must be local.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Attributes that make a browser fetch, by element; "*" is any element.
FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "feimage": ("href", "xlink:href"),
    "frame": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src",),
    "input": ("src",),
    "object": ("data",),
    "script": ("src", "href", "xlink:href"),
    "source": ("src",),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
    "base": ("href",),  # not fetched, but every relative address would become remote
    "*": ("background",),
}
# What <link> may name without the browser fetching it; any other rel counts as a resource.
LINKS_TO_FOLLOW = frozenset(
    "alternate author bookmark canonical help index license me next prev search up".split()
)
REMOTE = re.compile(r"\s*(?:(?:https?|wss?|ftp):)?//", re.IGNORECASE)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
CSS_FETCH = re.compile(
    r"""@import\s+(?:url\(\s*)?["']?(?P<sheet>[^"')\s;]+)|url\(\s*["']?(?P<url>[^"')]+)""",
    re.IGNORECASE,
)
MODULE_FETCH = re.compile(
    r"""\bimport\s*\(?\s*(?:[\w*${},\s]+?\bfrom\s*)?["'`](?P<url>(?:https?:)?//[^"'`]+)"""
    r"""|\bexport\b[^;"']*?\bfrom\s*["'](?P<again>(?:https?:)?//[^"']+)"""
)
REFRESH = re.compile(r"""^[\s\d.]*[;,]?\s*url\s*=\s*["']?(?P<url>[^"']+)""", re.IGNORECASE)


@dataclass(frozen=True)
class Resource:
    """A remote address that a page would fetch, and where it stands."""

    line: int
    kind: str
    address: str


def is_remote(address: str) -> bool:
    return REMOTE.match(address) is not None


def line_of(text: str, position: int, first: int = 1) -> int:
    return first + text.count("\n", 0, position)


def in_css(text: str, first_line: int = 1) -> Iterator[Resource]:
    """Fonts, pictures and imported sheets of a style sheet."""
    text = CSS_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    for match in CSS_FETCH.finditer(text):
        address = match["sheet"] or match["url"]
        if is_remote(address):
            kind = "@import" if match["sheet"] else "url()"
            yield Resource(line_of(text, match.start(), first_line), kind, address.strip())


def in_script(text: str, first_line: int = 1) -> Iterator[Resource]:
    """Modules imported by address. What a script asks for later only a browser can tell."""
    for match in MODULE_FETCH.finditer(text):
        address = match["url"] or match["again"]
        yield Resource(line_of(text, match.start(), first_line), "import", address)


def in_srcset(value: str) -> Iterator[str]:
    """Addresses of a ``srcset``: the first word of each candidate."""
    candidates = re.split(r",\s+|(?<=\d[wx]),", value)  # a comma may be part of an address
    yield from (candidate.split()[0] for candidate in candidates if candidate.strip())


class Page(HTMLParser):
    """Collects the remote resources of an HTML or SVG document."""

    def __init__(self, first_line: int = 1) -> None:
        super().__init__(convert_charrefs=True)
        self.first_line = first_line
        self.found: list[Resource] = []
        self.inside = ""  # the <style> or <script> being read

    def line(self) -> int:
        return self.first_line + self.getpos()[0] - 1

    def note(self, kind: str, *addresses: str | None) -> None:
        remote = [address for address in addresses if address and is_remote(address)]
        self.found += [Resource(self.line(), kind, address.strip()) for address in remote]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.inside = tag if tag in ("style", "script") else ""
        for name in (*FETCHED.get(tag, ()), *FETCHED["*"]):
            self.note(f"<{tag} {name}>", values.get(name))
        for name in ("srcset", "imagesrcset"):
            self.note(f"<{tag} {name}>", *in_srcset(values.get(name) or ""))
        if tag == "link":
            self._link(values)
        if tag == "meta" and (values.get("http-equiv") or "").lower() == "refresh":
            target = REFRESH.match(values.get("content") or "")
            self.note("<meta refresh>", target and target["url"])
        self.found += in_css(values.get("style") or "", self.line())
        if values.get("srcdoc"):
            self.found += in_page(values["srcdoc"], self.line())

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.inside = ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.found += in_css(data, self.line())
        elif self.inside == "script":
            self.found += in_script(data, self.line())

    def _link(self, values: dict[str, str | None]) -> None:
        words = (values.get("rel") or "").lower().split()
        if "stylesheet" in words or not set(words) <= LINKS_TO_FOLLOW:
            self.note(f"<link {' '.join(words)}>", values.get("href"))


def in_page(text: str, first_line: int = 1) -> list[Resource]:
    """Remote resources of an HTML or SVG document."""
    page = Page(first_line)
    page.feed(text)
    page.close()
    return page.found


READERS = {
    ".html": in_page,
    ".htm": in_page,
    ".svg": in_page,
    ".css": in_css,
    ".js": in_script,
    ".mjs": in_script,
}


def remote_resources(folder: Path) -> dict[Path, list[Resource]]:
    """Remote resources of every file below ``folder`` that has any, by path relative to it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        reader = READERS.get(path.suffix.lower())
        if reader and path.is_file():
            resources = list(reader(path.read_text(encoding="utf-8", errors="replace")))
            if resources:
                found[path.relative_to(folder)] = resources
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=ROOT / "_build" / "html", help="rendered book"
    )
    folder = parser.parse_args().folder
    pages = len(list(folder.rglob("*.html")))
    if not pages:
        print(f"{folder} has no pages: build the book first.", file=sys.stderr)
        return 2
    found = remote_resources(folder)
    for path, resources in found.items():
        for resource in resources:
            print(f"{path}:{resource.line}: {resource.kind} {resource.address}")
    number = sum(map(len, found.values()))
    print(f"{pages} pages, {number} remote resources" + (" (none is allowed)" if number else ""))
    return bool(number)


if __name__ == "__main__":
    sys.exit(main())
