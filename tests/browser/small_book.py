"""A small book with the settings of the real one: built, served, and opened without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("pages")


def jupyter_book() -> Path:
    return Path(sys.executable).with_name("jupyter-book")


def settings() -> dict:
    """The book's own settings, with the paths in them made independent of the folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    sphinx = config["sphinx"]
    for name in ("html_static_path", "templates_path", "bibtex_bibfiles"):
        if name in sphinx["config"]:
            sphinx["config"][name] = [str(ROOT / path) for path in sphinx["config"][name]]
    if "html_favicon" in sphinx["config"]:
        sphinx["config"]["html_favicon"] = str(ROOT / sphinx["config"]["html_favicon"])
    return config


def build_book(source: Path, folder: Path) -> Path:
    """Build the pages of ``source`` below ``folder``, warnings being errors; return the HTML."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    (folder / "_config.yml").write_text(yaml.safe_dump(settings()), encoding="utf-8")
    path = os.pathsep.join([str(jupyter_book().parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    built = subprocess.run(
        [str(jupyter_book()), "build", str(folder), "-W", "--keep-going"],
        env={**os.environ, "PATH": path, "PYTHONPATH": python_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if built.returncode:
        raise RuntimeError(f"the small book was not built:\n{built.stdout[-4000:]}")
    return folder / "_build" / "html"
