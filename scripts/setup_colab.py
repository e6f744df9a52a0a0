"""Install the library and the book's package, at the tested versions; for Colab.

Colab's own kernel and its front end stay as they are: a newer IPython or tornado under a running
notebook breaks it. Everything that computes gets the versions of constraints.txt.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = ROOT / ".installed"
# What Colab's kernel itself runs on.
COLABS_OWN = frozenset(
    "comm debugpy ipykernel ipython ipywidgets jupyter-client jupyter-core jupyter-server "
    "jupyterlab-widgets nest-asyncio2 pexpect prompt-toolkit ptyprocess pyzmq requests tornado "
    "traitlets widgetsnbextension".split()
)


def pins(constraints: str) -> list[str]:
    """The exact versions to keep to, without those of Colab's own kernel."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if line.partition("==")[0] not in COLABS_OWN]


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    if subprocess.run([*command, *arguments]).returncode:
        sys.exit("pip failed: see its message above.")


def main() -> None:
    print("Installing the packages; this takes a few minutes.", flush=True)
    # Both builds of TensorFlow write into the same folder: the other one has to go first.
    pip("uninstall", "--yes", "tensorflow")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        kept = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
        constraints.write_text("\n".join(kept) + "\n", encoding="utf-8")
        packages = (str(ROOT), str(ROOT / "src" / "eamlab_book"))
        pip("install", "--constraint", str(constraints), *packages)
    # A process of its own: this one started before the packages were there.
    warm = [sys.executable, str(ROOT / "scripts" / "warm_caches.py")]
    if subprocess.run(warm, cwd=tempfile.gettempdir()).returncode:
        sys.exit("The packages were installed but do not run: see the message above.")
    STAMP.touch()


if __name__ == "__main__":
    main()
