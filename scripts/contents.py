"""The pages of the book, as ``_toc.yml`` lists them; a chapter's name begins with its number."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of the book below ``root``, in the order in which one reads."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [toc])
    entries = [entry["file"] for part in parts for entry in part.get("chapters", [])]
    return [root / f"{entry}.md" for entry in (toc["root"], *entries)]


def chapters(root: Path = ROOT) -> list[Path]:
    return [page for page in pages(root) if re.match(r"\d+_", page.name)]


def with_code(root: Path = ROOT) -> list[Path]:
    """Pages that are notebooks."""
    return [page for page in pages(root) if "{code-cell}" in page.read_text(encoding="utf-8")]
