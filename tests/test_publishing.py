"""The book's links lead to the repository it is built from; Colab, Binder and the workflows."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path
from urllib.parse import quote

import memory
import nbformat
import psutil
import pytest
import repository
import yaml
from jupyter_book.config import get_final_config, get_validator

from eamlab_book.results.pages import chapter_table
from eamlab_book.results.plan import plan
from eamlab_book.results.workshop import Workshop

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


# The repository


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://user:secret@github.com/owner/name", "https://github.com/owner/name"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@GitHub.com:22/owner/name.git", "https://github.com/owner/name"),
        ("git@gitlab.uni.edu:group/sub/name.git", "https://gitlab.uni.edu/group/sub/name"),
        ("/srv/git/name.git", None),
        ("../name", None),
        ("C:/git/name", None),
        ("https://github.com/owner/name?tab=readme", None),
        ("owner/name", None),
    ],
)
def test_web_address_of_a_remote(remote, address):
    assert repository.web_address(remote) == address


def test_repository_comes_from_the_environment_or_the_remote(tmp_path):
    git(tmp_path, "init", "--initial-branch", "trunk")
    assert repository.find(tmp_path, {}) is None
    git(tmp_path, "remote", "add", "origin", "git@github.com:owner/name.git")
    named = {"EAMLAB_REPOSITORY": "https://gitlab.com/a/b", "EAMLAB_BRANCH": "next"}
    of_the_remote = repository.Repository("https://github.com/owner/name", "trunk")
    assert repository.find(tmp_path, {}) == of_the_remote
    assert repository.find(tmp_path, named) == repository.Repository(*named.values())
    with pytest.raises(ValueError, match="EAMLAB_REPOSITORY=owner/name is not the address"):
        repository.find(tmp_path, {"EAMLAB_REPOSITORY": "owner/name"})


def theme_options(address: str | None) -> dict:
    """What the book's theme is told: the project's own settings with the repository's."""
    found = repository.Repository(address, "main") if address else None
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    for section, values in repository.settings(found).items():
        config[section] = config.get(section, {}) | values
    get_validator().validate(config)
    made, _ = get_final_config(user_yaml=config, cli_config={"latex_individualpages": False})
    return made["html_theme_options"]


@pytest.mark.parametrize(
    ("address", "buttons", "launch"),
    [
        ("https://github.com/owner/name", (True, True, True), (True, True)),
        ("https://gitlab.com/owner/name", (True, True, True), (True, False)),
        ("https://gitlab.uni.edu/owner/name", (True, True, True), (False, False)),
        ("https://bitbucket.org/owner/name", (True, True, False), (False, False)),
        ("https://codeberg.org/github/name", (False, False, False), (False, False)),
        (None, (False, False, False), (False, False)),
    ],
)
def test_buttons_are_those_that_work(address, buttons, launch):
    options = theme_options(address)
    names = ("use_repository_button", "use_edit_page_button", "use_issues_button")
    assert tuple(options[name] for name in names) == buttons
    services = ("binderhub_url", "colab_url")
    assert tuple(bool(options["launch_buttons"].get(name)) for name in services) == launch
    if any(buttons):
        assert options["repository_url"] == address
        assert options["launch_buttons"]["notebook_interface"] == "jupyterlab"


def test_the_picture_of_a_shared_link_needs_the_site():
    assert repository.site_settings({}) == {}
    made = repository.site_settings({"EAMLAB_SITE": "https://owner.github.io/name/"})
    meta = made["sphinx"]["config"]["myst_html_meta"]
    assert meta == {"property=og:image": "https://owner.github.io/name/_static/preview.png"}
    assert (ROOT / "book" / "static" / "preview.png").exists()
    with pytest.raises(ValueError, match="EAMLAB_SITE=here is not the address of a site"):
        repository.site_settings({"EAMLAB_SITE": "here"})


@pytest.mark.slow  # Sphinx builds a book
def test_links_of_a_built_page(script, tmp_path, monkeypatch):
    """The theme turns the settings into the addresses that Binder and Colab expect."""
    folder = tmp_path
    for name in ("REPOSITORY", "BRANCH", "SITE"):
        monkeypatch.delenv(f"EAMLAB_{name}", raising=False)
    monkeypatch.setenv("EAMLAB_SITE", "https://owner.github.io/name")
    git(folder, "init", "--initial-branch", "trunk")
    git(folder, "remote", "add", "origin", "git@github.com:owner/name.git")
    (folder / "book").mkdir()
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/page\n", encoding="utf-8")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    config["sphinx"]["config"] |= {"bibtex_bibfiles": []}  # the files of the book are not here
    for name in ("html_static_path", "html_css_files", "html_favicon", "html_theme_options"):
        config["sphinx"]["config"].pop(name, None)
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "book" / "page.md").write_text(
        "---\njupytext: {text_representation: {extension: .md, format_name: myst}}\n"
        "kernelspec: {name: python3, display_name: Python 3, language: python}\n---\n\n"
        "# Page\n\n```{code-cell} ipython3\n1\n```\n",
        encoding="utf-8",
    )
    build_book = script("build_book")
    for name, path in {"ROOT": "", "BUILD": "_build", "CONFIG": "_build/_config.yml"}.items():
        monkeypatch.setattr(build_book, name, folder / path)
    script("make_notebooks").write(folder)
    assert "https://github.com/owner/name (trunk)" in build_book.point_links()
    assert build_book.build("-W") == 0
    html = (folder / "_build" / "html" / "book" / "page.html").read_text(encoding="utf-8")
    links = set(re.findall(r'href="(https://[^"]+)"', html))
    assert {
        "https://mybinder.org/v2/gh/owner/name/trunk?urlpath=lab/tree/book/page.ipynb",
        "https://colab.research.google.com/github/owner/name/blob/trunk/book/page.ipynb",
        "https://github.com/owner/name",
        "https://github.com/owner/name/edit/trunk/book/page.md",
        "https://owner.github.io/name/book/page.html",
    } <= links
    assert 'content="https://owner.github.io/name/_static/preview.png"' in html
    assert 'property="og:site_name"' in html  # what was there before is kept


def test_broken_links_are_told_from_servers_that_refuse_robots(script):
    entries = [("working", ""), ("broken", "404 Client Error"), ("broken", "403 Client Error")]
    where = {"filename": "book/a.md", "lineno": 3, "uri": "https://a.org"}
    report = "\n".join(json.dumps(where | {"status": s, "info": info}) for s, info in entries)
    broken, refused = script("build_book").broken_links(report)
    assert broken == ["book/a.md:3: https://a.org (404 Client Error)"]
    assert refused == ["book/a.md:3: https://a.org (403 Client Error)"]


# Colab

CELL = (ROOT / "scripts" / "colab_cell.py").read_text(encoding="utf-8")
BRANCH = "a/branch"
# Stands in for pip: writes down what it is told, and the versions it is told to keep to.
PIP = """
import os, sys
from pathlib import Path

Path(os.environ["PIP_LOG"]).open("a", encoding="utf-8").write(" ".join(sys.argv[1:]) + "\\n")
if "--constraint" in sys.argv:
    pins = Path(sys.argv[sys.argv.index("--constraint") + 1]).read_text(encoding="utf-8")
    Path(os.environ["PIP_LOG"]).with_suffix(".pins").write_text(pins, encoding="utf-8")
sys.exit(int(os.environ.get("PIP_STATUS", "0")))
"""


def commit(folder: Path, branch: str) -> None:
    for command in (["init", "-b", branch], ["add", "-A"], ["commit", "-m", "all"]):
        git(folder, *command)


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A pretended Colab: its module, its server, a home, GitHub on disk and a pip that obeys."""
    source = tmp_path / "github" / "owner" / "name"
    for name in ("scripts/setup_colab.py", "constraints.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    (source / "scripts" / "warm_caches.py").write_text("", encoding="utf-8")
    (source / "book").mkdir()
    (source / "book" / "page.ipynb").write_text("{}", encoding="utf-8")
    commit(source, BRANCH)
    (tmp_path / "stub" / "pip").mkdir(parents=True)
    (tmp_path / "stub" / "pip" / "__init__.py").touch()  # or the real pip would come first
    (tmp_path / "stub" / "pip" / "__main__.py").write_text(PIP, encoding="utf-8")
    (tmp_path / "home").mkdir()
    log = tmp_path / "pip.log"
    on_disk = f"url.{(tmp_path / 'github').as_uri()}/.insteadOf"
    environ = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": on_disk}
    environ |= {"GIT_CONFIG_VALUE_0": "https://github.com/", "KERAS_BACKEND": "", "PIP_LOG": log}
    environ |= {"HOME": tmp_path / "home", "PYTHONPATH": tmp_path / "stub"}
    for name, value in environ.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "pip", "--help"], check=True, capture_output=True)
    assert log.read_text(encoding="utf-8") == "--help\n"  # or the real pip would be at work
    log.unlink()
    for name in ("google", "google.colab"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    return log


@pytest.fixture
def session(monkeypatch):
    """Colab's own server, which tells where the notebook was opened from."""

    class Handler(http.server.BaseHTTPRequestHandler):
        path_told = (
            f"fileId={quote(f'https://github.com/owner/name/blob/{BRANCH}/book/page.ipynb')}"
        )

        def do_GET(self):
            found = self.path == "/api/sessions"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps([{"path": self.path_told}]).encode())

        def log_message(self, *_):
            """Keep the test report readable."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
        monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
        yield Handler
        server.shutdown()


def run_cell(source: str = CELL) -> list[bool]:
    """Run the cell in a namespace of its own; return the restarts of the kernel it asks for."""
    restarts: list[bool] = []
    kernel = types.SimpleNamespace(do_shutdown=restarts.append)
    shell = types.SimpleNamespace(kernel=kernel)
    exec(compile(source, "cell", "exec"), {"get_ipython": lambda: shell})
    return restarts


def test_elsewhere_the_cell_does_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_cell() == [] and Path.cwd() == tmp_path and list(tmp_path.iterdir()) == []


def test_on_colab_the_cell_installs_the_tested_versions_once(colab, session, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))  # Colab imports it first
    assert run_cell() == [True]
    folder = Path.home() / "eamlab-book"
    assert Path.cwd() == folder / "book" and (folder / "book" / "page.ipynb").exists()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    uninstall, install = colab.read_text(encoding="utf-8").splitlines()
    assert uninstall.endswith("uninstall --yes tensorflow")
    assert " install --constraint " in install
    assert install.split()[-2:] == [str(folder), str(folder / "src" / "eamlab_book")]
    assert run_cell() == []  # the kernel has restarted, the packages are there
    assert len(colab.read_text(encoding="utf-8").splitlines()) == 2
    kept = colab.with_suffix(".pins").read_text(encoding="utf-8")
    names = {line.partition("==")[0] for line in kept.split()}
    assert {"bayesflow", "keras", "tensorflow-cpu", "numpy", "numba", "scipy"} <= names
    assert {"ipython", "ipykernel", "tornado"} & names == set()  # Colab's own kernel stays


@pytest.mark.parametrize("spoil", ["no server", "from Drive", "other answer"])
def test_colab_that_does_not_tell_is_helped_by_hand(colab, session, monkeypatch, spoil):
    if spoil == "no server":
        monkeypatch.delenv("COLAB_JUPYTER_IP")
    else:
        session.path_told = "fileId=1aBcD" if spoil == "from Drive" else "https://github.com/owner"
    with pytest.raises(RuntimeError, match="write the address of the book's repository into REPO"):
        run_cell()
    by_hand = CELL.replace('REPOSITORY = ""', 'REPOSITORY = "https://github.com/owner/name"')
    assert by_hand != CELL
    run_cell(by_hand)
    assert Path.cwd() == Path.home() / "eamlab-book" / "book"


CLEAN_RUN = """
import json, os, sys, types
from importlib.metadata import version

for name in ("google", "google.colab"):
    sys.modules[name] = types.ModuleType(name)
exec(compile(open(sys.argv[1], encoding="utf-8").read(), "cell", "exec"))
import eamlab, eamlab_book

study = eamlab.simulate(eamlab.EAM, 3, seed=1)
names = ["numpy", "keras", "bayesflow", "tensorflow-cpu"]
files, versions = [eamlab.__file__, eamlab_book.__file__], {name: version(name) for name in names}
print(json.dumps([files, versions, os.getcwd(), list(study.trials.shape)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_cell_makes_a_clean_environment_run_the_package(tmp_path):
    """The whole way: clone, real pip, the wheel it builds, and the package that it installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    source, home = tmp_path / "source", tmp_path / "home"
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    commit(source, "main")
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    (tmp_path / "cell.py").write_text(
        CELL.replace('REPOSITORY = ""', f'REPOSITORY = "{source.as_uri()}"'), encoding="utf-8"
    )
    environ = os.environ | {"HOME": str(home)}
    for name in ("PYTHONPATH", "PYTHONHOME", "KERAS_BACKEND"):
        environ.pop(name, None)
    answer = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-c", CLEAN_RUN, tmp_path / "cell.py"],
        env=environ, cwd=home, check=True, capture_output=True, text=True,
    )  # fmt: skip
    files, versions, cwd, shape = json.loads(answer.stdout.splitlines()[-1])
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in constraints if "==" in line)
    assert versions == {name: pinned[name] for name in versions}
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in files)
    assert Path(cwd) == home / "eamlab-book" / "book" and shape == [3, 30, 2]


# Binder


def test_a_session_gets_one_thread_and_its_command():
    command = [ROOT / "start", "printenv", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.split() == ["1", "1"]


def test_memory_is_watched_and_limited():
    """A process with a child: both are counted, and both stopped above the limit."""
    child = "import sys; held = bytearray(60_000_000); print(flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent], **pipes) as process:
        process.stdout.readline()
        root = psutil.Process(process.pid)
        watch, small = memory.Watch(root), memory.Watch(root, limit_mb=60)
        watch.look()
        assert 60 < watch.children_peak_mb < watch.peak_mb < 500
        assert not watch.exceeded and process.poll() is None
        children = root.children()
        small.look()
        assert small.exceeded
        _, alive = psutil.wait_procs(children, timeout=10)
        assert process.wait(timeout=10) != 0 and not alive


def test_the_readme_says_what_every_chapter_takes_and_all_of_them_ran():
    hosted = json.loads((ROOT / "book" / "data" / "hosted.json").read_text(encoding="utf-8"))
    assert hosted["limits"] == {"cpus": 1, "limit_mb": 2048}
    for row in hosted["chapters"]:
        assert (ROOT / "book" / f"{row['chapter']}.md").exists()
        assert row["error"] is None and 0 < row["seconds"] <= 120
        assert 0 < row["kernel_peak_mb"] < row["peak_mb"] <= 1500
    assert plan(Workshop(), ["README"]) == []
    shown = chapter_table()
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")
    measured = [row["chapter"] for row in hosted["chapters"] if row["chapter"][0].isdigit()]
    assert shown.count("\n|") == 2 + len(measured) > 9


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_notebook_runs_in_a_hosted_session(script, tmp_path, monkeypatch):
    """JupyterLab, a kernel and a figure, as check_binder.py drives them; errors are told."""
    check_binder = script("check_binder")
    cells = ["import matplotlib.pyplot as plt", "plt.plot([1, 2]); plt.show()", "1 / 0", "print(2)"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    (tmp_path / "book").mkdir()
    nbformat.write(notebook, tmp_path / "book" / "page.ipynb")
    shutil.copy(ROOT / "start", tmp_path)
    settings = check_binder.settings(Path(sys.executable).parent.parent, tmp_path)
    report = check_binder.check("page", tmp_path, settings, cpus=1, limit_mb=2048)
    assert report.error == "ZeroDivisionError: division by zero"
    assert report.lab_ready_s <= report.first_figure_s <= report.lab_ready_s + report.seconds + 60
    assert 50 < report.kernel_peak_mb < report.peak_mb < 2048


# The workflows

# What a job may ask for beyond reading: pages and their proof of origin, issues.
PERMISSIONS = {"pages": "write", "id-token": "write", "issues": "write", "contents": "read"}


@pytest.mark.parametrize("path", [*ROOT.glob(".github/workflows/*.yml")], ids=lambda p: p.stem)
def test_workflow_has_few_rights_an_end_and_commands_that_can_be_read(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in content[True]  # its key "on", in YAML 1.1
    for job in content["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        for what, right in job.get("permissions", {}).items():
            assert right in {"read", PERMISSIONS.get(what, "none of it")}
        for command in (step["run"] for step in job["steps"] if "run" in step):
            subprocess.run(["bash", "-n"], input=command, text=True, check=True)
            assert "${{" not in command  # which would let a branch's name be a command


GH = """#!/usr/bin/env bash
echo "$*" >>"$GH_LOG"
while [ $# -gt 0 ]; do
    if [ "$1" = --body-file ]; then cat "$2" >>"$GH_LOG.body"; fi
    shift
done
if [ -n "${OPEN_ISSUE:-}" ] && grep -q "issue list" "$GH_LOG"; then echo "$OPEN_ISSUE"; fi
"""


@pytest.mark.parametrize("open_issue", ["", "17"])
def test_a_failure_is_reported_once(tmp_path, open_issue):
    """No open issue: one is made. An open one gets a comment instead."""
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "run.log").write_text("start\n" + "@everyone `x`\n" * 500, encoding="utf-8")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environ = os.environ | {"PATH": path, "GH_LOG": f"{tmp_path}/calls", "OPEN_ISSUE": open_issue}
    command = [ROOT / ".github" / "report.sh", "It broke", tmp_path / "run.log"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    listing, report = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert listing.startswith("issue list --state open")
    assert report.startswith("issue comment 17" if open_issue else "issue create --title It broke")
    body = (tmp_path / "calls.body").read_text(encoding="utf-8")
    assert body.count("    @everyone") == 80 and "start" not in body
