"""Execute every chapter and render the book into ``_build/html``.

Executed chapters are kept in a cache keyed on their code. A change of the library, the weights or
the package versions would go unnoticed by that key, so the cache is emptied when one of those
changes; a change of prose alone rebuilds in seconds.

Launch buttons and edit links lead to the repository that the book is built from (repository.py).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import repository
import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
CONFIG = BUILD / "_config.yml"
LINKS = BUILD / "links"


def inputs_digest() -> str:
    """One hash over what the chapters' results depend on beside their own code."""
    files = [ROOT / "constraints.txt", ROOT / "scripts" / "setup_jupyter.py"]
    files += sorted((ROOT / "src").rglob("*"))
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file):
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def refresh_cache(build: Path = BUILD) -> None:
    """Empty the cache of executed chapters unless it was made with the same inputs."""
    digest, known = inputs_digest(), build / ".executed-with"
    if not known.exists() or known.read_text(encoding="utf-8") != digest:
        shutil.rmtree(build / CACHE.name, ignore_errors=True)
        # Pages are re-read too, or Sphinx would keep the old outputs.
        shutil.rmtree(build / ".doctrees", ignore_errors=True)
    build.mkdir(parents=True, exist_ok=True)
    known.write_text(digest, encoding="utf-8")


def merged(settings: Any, changes: Any) -> Any:
    """``settings`` with ``changes``, section by section."""
    if not (isinstance(settings, dict) and isinstance(changes, dict)):
        return changes
    return settings | {k: merged(settings.get(k), value) for k, value in changes.items()}


def write_config(changes: dict[str, dict]) -> None:
    """Write the book's settings, with ``changes`` in their sections, below _build."""
    config = merged(yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")), changes)
    BUILD.mkdir(exist_ok=True)
    CONFIG.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def build(*options: str, root: Path | None = None) -> int:
    program = str(Path(sys.executable).with_name("jupyter-book"))
    command = [program, "build", str(root or ROOT), "--config", str(CONFIG), "--keep-going"]
    # Jupyter Book starts kernels and helpers by name: the ones of this environment must be found.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run([*command, *options], env={**os.environ, "PATH": path}).returncode


def broken_links(report: str) -> tuple[list[str], list[str]]:
    """Lines on broken links, and on those whose servers refuse robots, from Sphinx's report."""
    found: tuple[list[str], list[str]] = ([], [])
    for entry in map(json.loads, report.splitlines()):
        if entry["status"] == "broken":
            line = f"{entry['filename']}:{entry['lineno']}: {entry['uri']} ({entry['info']})"
            found[entry["info"].startswith(("403 ", "429 "))].append(line)
    return found


def check_links() -> int:
    """Follow every link of the chapters, without executing them."""
    write_config({"execute": {"execute_notebooks": "off"}})
    # A place of its own: pages read without outputs must not be taken for the book's.
    shutil.rmtree(LINKS, ignore_errors=True)
    build("--builder", "linkcheck", "--path-output", str(LINKS))
    report = LINKS / "_build" / "html" / "output.json"
    if not report.exists():
        print("The links were not followed: see the messages above.", file=sys.stderr)
        return 1
    broken, refused = broken_links(report.read_text(encoding="utf-8"))
    print(f"Broken links: {len(broken)}; servers that refuse robots: {len(refused)}")
    print("\n".join(broken + refused))
    return bool(broken)


def point_links() -> str:
    """Point the book's links to the repository that it is built from; return a note on it."""
    found = repository.find(ROOT)
    write_config(merged(repository.settings(found), repository.site_settings()))
    return repository.note(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="execute all chapters anew")
    parser.add_argument("--lax", action="store_true", help="do not fail on warnings")
    parser.add_argument("--links", action="store_true", help="only follow the chapters' links")
    options = parser.parse_args()
    if options.links:
        return check_links()
    if options.fresh:
        shutil.rmtree(BUILD, ignore_errors=True)
    refresh_cache()
    try:
        note = point_links()
    except ValueError as error:
        sys.exit(str(error))
    start = time.monotonic()
    status = build(*([] if options.lax else ["-W"]))
    page = BUILD / "html" / "index.html"
    if status or not page.exists():
        print("The book was not built: see the messages above.", file=sys.stderr)
        return status or 1
    print(f"The book is built ({time.monotonic() - start:.0f} s). Open {page.as_uri()}")
    print("or run `make serve` and open the address it prints.")
    print(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
