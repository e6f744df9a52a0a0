"""Write the versions installed here into constraints.txt and environment.yml.

Run it as ``make lock`` in an environment whose tests have passed. ``constraints.txt`` holds
everything any extra of the two packages needs, ``environment.yml`` what the library and the book
need, so that a hosted session stays small.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "pyproject.toml"
BOOK = ROOT / "src" / "eamlab_book" / "pyproject.toml"
CONSTRAINTS_HEAD = """\
# The exact versions this project was tested with, on Python 3.12 and x86-64 Linux.
# Written by `make lock`; the bounds that hold in general: pyproject.toml.
# "tensorflow" is for the systems that have no CPU-only build; it is the same release.
"""
ENVIRONMENT_HEAD = """\
# What hosted sessions (Binder) install: the library's dependencies and the book's.
# The versions are those of constraints.txt; written by `make lock`, compared by the tests.
name: eamlab
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Tell whether a requirement counts on this machine for the given extras."""
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras or {""})


def children(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if applies(requirement, extras | {""}):
            yield requirement


def closure(roots: list[str]) -> dict[str, str]:
    """Names (canonical) and installed versions of all that the roots need."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [r for r in map(Requirement, roots) if applies(r, frozenset())]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found[name] = metadata.version(name)
        todo.extend(children(name, key[1]))
    return dict(sorted(found.items()))


def tensorflow_twin(versions: dict[str, str]) -> dict[str, str]:
    """Add the name under which other systems find the same TensorFlow release."""
    version = versions.get("tensorflow-cpu") or versions["tensorflow"]
    return dict(sorted({**versions, "tensorflow": version, "tensorflow-cpu": version}.items()))


def requirements(project: Path, *extras: str) -> list[str]:
    """What a pyproject.toml asks for, the library itself left out; "*" stands for every extra."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = table.get("optional-dependencies", {})
    chosen = optional if extras == ("*",) else extras
    lines = [*table["dependencies"], *(line for extra in chosen for line in optional[extra])]
    return [line for line in lines if Requirement(line).name != "eamlab"]


def main() -> None:
    book = requirements(BOOK, "*")
    everything = closure(requirements(LIBRARY, "*") + book)
    pins = [f"{name}=={version}" for name, version in tensorflow_twin(everything).items()]
    (ROOT / "constraints.txt").write_text(
        CONSTRAINTS_HEAD + "\n".join(pins) + "\n", encoding="utf-8"
    )

    needed = closure(requirements(LIBRARY, "arviz") + book)
    hosted = [f"      - {name}=={version}" for name, version in needed.items()]
    (ROOT / "environment.yml").write_text(
        ENVIRONMENT_HEAD + "\n".join(hosted) + "\n", encoding="utf-8"
    )
    if local := [pin for pin in pins if "+" in pin]:
        sys.exit(f"local builds cannot be installed elsewhere: {', '.join(local)}")


if __name__ == "__main__":
    main()
