"""Set up Jupyter inside the environment that runs this file.

The kernel gets the settings every chapter needs, and JupyterLab opens the chapters, which are
Markdown, as notebooks. Used by scripts/setup_venv.sh and by postBuild.
"""

import json
import sys
from pathlib import Path

SHARE = Path(sys.prefix) / "share" / "jupyter"

KERNEL = {
    "argv": [
        "python",
        "-m",
        "ipykernel_launcher",
        # No word on unencrypted TCP in every chapter: the kernel listens on this machine only.
        "--log-level=ERROR",
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
    },
    "metadata": {"debugger": True},
}

LAB_SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {
        "defaultViewers": {"markdown": "Jupytext Notebook", "myst": "Jupytext Notebook"}
    }
}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(SHARE / "kernels" / "python3" / "kernel.json", KERNEL)
    write(SHARE / "lab" / "settings" / "overrides.json", LAB_SETTINGS)
