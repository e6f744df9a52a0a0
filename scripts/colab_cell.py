# @title On Colab, run this cell first (elsewhere it does nothing)
import sys

# Both may stay empty: they are then read from the address this notebook was opened from.
REPOSITORY = ""  # @param {type:"string"}
BRANCH = ""  # @param {type:"string"}

if "google.colab" in sys.modules:
    import json
    import os
    import re
    import shutil
    import subprocess
    import urllib.parse
    import urllib.request
    from pathlib import Path

    def opened_from():
        server = f"http://{os.environ['COLAB_JUPYTER_IP']}:{os.environ['KMP_TARGET_PORT']}"
        with urllib.request.urlopen(f"{server}/api/sessions", timeout=10) as answer:
            paths = [urllib.parse.unquote(session["path"]) for session in json.load(answer)]
        place = re.compile(r"(https://github\.com/[\w.-]+/[\w.-]+)/blob/(.+)/book/[^/]+\.ipynb")
        return next(found.groups() for found in map(place.search, paths) if found)

    def run(problem, *command):
        if subprocess.run(command).returncode:
            raise RuntimeError(f"{problem}: see the messages above, then run this cell again.")

    folder = Path.home() / "eamlab-book"
    if not (folder / ".installed").exists():
        try:
            repository, branch = (REPOSITORY, BRANCH or "HEAD") if REPOSITORY else opened_from()
        except (KeyError, OSError, StopIteration, ValueError) as error:
            raise RuntimeError(
                "Colab does not tell where this notebook comes from: write the address of the "
                "book's repository into REPOSITORY above and run this cell again."
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        at = [] if branch == "HEAD" else ["--branch", branch]
        run("The book could not be fetched", "git", "clone", "--quiet", "--depth", "1", *at,
            repository, str(folder))  # fmt: skip
        run("The packages could not be installed", sys.executable,
            str(folder / "scripts" / "setup_colab.py"))  # fmt: skip
        if "numpy" in sys.modules:
            print("The new packages need a new kernel: it restarts now. Then run all cells again.")
            get_ipython().kernel.do_shutdown(True)  # noqa: F821

    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.chdir(folder / "book")
