"""Set up Jupyter inside the environment that runs this file.

The kernel gets the settings every chapter needs, and JupyterLab lists one file a chapter, the
notebook, without the Markdown that it is made of. Used by scripts/setup_venv.sh and by postBuild.
"""

import json
import sys
from pathlib import Path

SHARE = Path(sys.prefix) / "share" / "jupyter"
SETTINGS = Path(sys.prefix) / "etc" / "jupyter" / "jupyter_server_config.d" / "eamlab.json"
BOOK = Path(__file__).resolve().parent.parent / "book"

KERNEL = {
    "argv": [
        "python",
        "-m",
        "ipykernel_launcher",
        # No word on unencrypted TCP in every chapter: the kernel listens on this machine only.
        "--log-level=ERROR",
        # Nor what TensorFlow's start writes below Python, which nothing silences: it goes to the
        # terminal of JupyterLab.
        "--IPKernelApp.capture_fd_output=False",
        "-f",
        "{connection_file}",
    ],
    "display_name": "Python 3 (eamlab)",
    "language": "python",
    "env": {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # One memory arena instead of one per thread: glibc's defaults keep hundreds of MB that
        # TensorFlow's threads have long freed, and a chapter has 1.5 GB in all.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_TRIM_THRESHOLD_": "131072",
        # Not each array of 128 kB mapped and unmapped for itself, as follows from the line above:
        # that was nearly half of the seconds of chapter 5 on one core; this takes 60 MB more.
        "MALLOC_MMAP_THRESHOLD_": "268435456",
        "MALLOC_TOP_PAD_": "67108864",
    },
    "metadata": {"debugger": True},
}

USUALLY_HIDDEN = ["__pycache__", "*.pyc", "*.pyo", ".DS_Store", "*~"]  # Jupyter's default
SOURCES = sorted(notebook.with_suffix(".md").name for notebook in BOOK.glob("*.ipynb"))
SERVER_SETTINGS = {"ContentsManager": {"hide_globs": [*USUALLY_HIDDEN, *SOURCES]}}

# Pages without code have no notebook: they open as text to read, not to edit.
LAB_SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}}
}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(SHARE / "kernels" / "python3" / "kernel.json", KERNEL)
    write(SHARE / "lab" / "settings" / "overrides.json", LAB_SETTINGS)
    write(SETTINGS, SERVER_SETTINGS)
