"""Execute every chapter and render the book into ``_build/html``.

Executed chapters are kept in a cache keyed on their code. A change of the library, the weights or
the package versions would go unnoticed by that key, so the cache is emptied when one of those
changes; a change of prose alone rebuilds in seconds.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
DIGEST = BUILD / ".executed-with"


def inputs_digest() -> str:
    """One hash over what the chapters' results depend on beside their own code."""
    files = [ROOT / "constraints.txt", ROOT / "scripts" / "setup_jupyter.py"]
    files += sorted((ROOT / "src").rglob("*"))
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file):
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def refresh_cache() -> None:
    """Empty the cache of executed chapters unless it was made with the same inputs."""
    digest = inputs_digest()
    if not DIGEST.exists() or DIGEST.read_text() != digest:
        shutil.rmtree(CACHE, ignore_errors=True)
        # Pages are re-read too, or Sphinx would keep the old outputs.
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    DIGEST.write_text(digest)


def build(strict: bool) -> int:
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(ROOT),
        "--keep-going",
    ]
    # Jupyter Book starts kernels and helpers by name: the ones of this environment must be found.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(command + ["-W"] * strict, env={**os.environ, "PATH": path}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="execute all chapters anew")
    parser.add_argument("--lax", action="store_true", help="do not fail on warnings")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(BUILD, ignore_errors=True)
    refresh_cache()
    start = time.monotonic()
    status = build(strict=not options.lax)
    page = BUILD / "html" / "index.html"
    if status or not page.exists():
        print("The book was not built: see the messages above.", file=sys.stderr)
        return status or 1
    print(f"The book is built ({time.monotonic() - start:.0f} s). Open {page.as_uri()}")
    print("or run `make serve` and open the address it prints.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
