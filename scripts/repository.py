"""Which repository the book is built from: for launch buttons, edit links and the links to files.

Nothing of it is written down in the project, so that a fork's book points to the fork. The address
comes from EAMLAB_REPOSITORY, else from the git remote "origin"; the branch from EAMLAB_BRANCH, else
from the branch that is checked out. EAMLAB_SITE says where the book is going to be read.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROVIDERS = ("github", "gitlab", "bitbucket")  # whose edit links the book's theme can write
# https://host/owner/name, ssh://git@host:22/owner/name and git@host:owner/name, all with or
# without ".git"; what stands before an @ may be a password and is never kept.
REMOTE = re.compile(
    r"(?:(?:https?|ssh|git)://)?(?:[^@/\s]+@)?(?P<host>[\w-]+(?:\.[\w-]+)+)(?::\d+(?=/))?"
    r"[/:](?P<path>[\w.-]+(?:/[\w.-]+)+)/?"
)
SITE = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/[\w.~-]+)*")


class Repository(NamedTuple):
    """Where the sources are: ``https://host/owner/name`` and a branch."""

    address: str
    branch: str

    @property
    def host(self) -> str:
        return self.address.split("/")[2]

    @property
    def provider(self) -> str | None:
        """Name of the service when links to single files can be written for it."""
        labels = self.host.split(".")  # a university's gitlab.uni.edu counts
        return next((name for name in PROVIDERS if name in labels), None)


def web_address(remote: str) -> str | None:
    """The https address of a remote; None for a folder or anything that is no web address."""
    found = REMOTE.fullmatch(remote)
    if found is None:
        return None
    return f"https://{found['host'].lower()}/{found['path'].removesuffix('.git')}"


def git(root: Path, *arguments: str) -> str:
    """What git answers, or nothing where there is no git, no checkout or no such value."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def find(root: Path, environ: Mapping[str, str] = os.environ) -> Repository | None:
    """The repository of ``root``, or None where nothing names one.

    Raises
    ------
    ValueError
        If EAMLAB_REPOSITORY is set to something that is no web address.
    """
    given, branch = environ.get("EAMLAB_REPOSITORY", ""), environ.get("EAMLAB_BRANCH", "")
    remote = given
    if Path(git(root, "rev-parse", "--show-toplevel") or "/").resolve() == root.resolve():
        remote = given or git(root, "remote", "get-url", "origin")
        branch = branch or git(root, "symbolic-ref", "--short", "HEAD")
    address = web_address(remote)
    if given and address is None:
        raise ValueError(
            f"EAMLAB_REPOSITORY={given} is not the address of a repository; give one like "
            "https://github.com/owner/name, or unset it."
        )
    return Repository(address, branch or "main") if address else None


def settings(repository: Repository | None) -> dict[str, Any]:
    """The part of Jupyter Book's configuration that depends on the repository."""
    provider = repository.provider if repository else None
    html = {
        "use_repository_button": provider is not None,
        "use_edit_page_button": provider is not None,
        "use_issues_button": provider in {"github", "gitlab"},
    }
    if repository is None or provider is None:
        return {"html": html}
    on_binder = repository.host in {"github.com", "gitlab.com"}
    launch = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org" * on_binder,
        "colab_url": "https://colab.research.google.com" * (repository.host == "github.com"),
    }
    place = {"url": repository.address, "branch": repository.branch, "path_to_book": ""}
    return {"html": html, "launch_buttons": launch, "repository": place}


def site_settings(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The part that depends on where the book is read: the picture beside a shared link.

    Messengers want its whole address, so without EAMLAB_SITE there is none.

    Raises
    ------
    ValueError
        If EAMLAB_SITE is set to something that is no web address.
    """
    site = environ.get("EAMLAB_SITE", "").rstrip("/")
    if not site:
        return {}
    if not SITE.fullmatch(site):
        raise ValueError(
            f"EAMLAB_SITE={site} is not the address of a site; give one like "
            "https://owner.github.io/name, or unset it."
        )
    picture = {"property=og:image": f"{site}/_static/preview.png"}
    return {"html": {"baseurl": f"{site}/"}, "sphinx": {"config": {"myst_html_meta": picture}}}


def note(repository: Repository | None) -> str:
    """One sentence for the output of a build: where the links lead, or why there are none."""
    if repository is None:
        return "No launch buttons and edit links: no git remote, and EAMLAB_REPOSITORY is not set."
    if repository.provider is None:
        return f"No launch buttons and edit links: {repository.host} is none of {PROVIDERS}."
    return f"Launch buttons and edit links lead to {repository.address} ({repository.branch})."
