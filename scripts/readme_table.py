"""Write what every chapter takes into README.md, as `make binder-check` measured it.

    python scripts/readme_table.py

The table stands between two comments. A test compares it with ``book/data/hosted.json`` and the
chapters.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
HOSTED = ROOT / "book" / "data" / "hosted.json"
TABLE = re.compile(
    r"(?<=<!-- chapters: scripts/readme_table.py -->\n).*?(?=<!-- end -->)", re.DOTALL
)
HEAD = """
| chapter | to read (min) | to run (s) | memory (MB) |
|---|--:|--:|--:|
"""


def title_and_minutes(chapter: str) -> tuple[str, int]:
    """Return a chapter's title, and the minutes that it says a reader needs."""
    text = (ROOT / "book" / f"{chapter}.md").read_text()
    title, time = re.search(r"^# (.+)$", text, re.M), re.search(r"^\*Time: about (\d+)", text, re.M)
    if title is None or time is None:
        raise ValueError(f"{chapter}.md has no title or does not say its time.")
    return title[1], int(time[1])


def row(measured: dict[str, Any]) -> str:
    title, minutes = title_and_minutes(measured["chapter"])
    return f"| {title} | {minutes} | {measured['seconds']:.0f} | {measured['peak_mb']:,.0f} |\n"


def table(hosted: dict[str, Any]) -> str:
    """Return the table, with a row for every measured chapter (not for the front page)."""
    chapters = [c for c in hosted["chapters"] if c["chapter"][0].isdigit()]
    return HEAD + "".join(map(row, chapters)) + "\n"


def main() -> None:
    text = README.read_text()
    made = table(json.loads(HOSTED.read_text()))
    README.write_text(TABLE.sub(lambda _: made, text))


if __name__ == "__main__":
    main()
