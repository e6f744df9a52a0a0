"""Where results are made: a model, a folder, and what earlier runs left of unfinished ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from joblib import Memory

from eamlab.model.eam import EAM
from eamlab.model.model import Model
from eamlab.workflows import load_pretrained
from eamlab_book.stored import load_stored, sha256_of

ROOT = Path(__file__).resolve().parents[3]
"""Of the repository; results are made in a checkout only."""


@dataclass(frozen=True)
class Result:
    """A stored result.

    Attributes
    ----------
    name : str
        Of the result, and of its first file.
    files : tuple of str
        Under the repository's root; the first is JSON and says what made the result.
    make : callable
        ``make(workshop, result)`` returns what the first file holds beside that, for
        `eamlab_book.stored.write_stored`, and writes the others; or writes all and returns None.
    settings : dataclass
        All that the result depends on, beside the model and what it needs.
    seconds : float
        How long it takes, where no file says it.
    needs : tuple of str
        Names of networks and other results.
    check : callable, optional
        ``check(workshop, result)`` raises a ValueError for a stale result, where that is not what
        `eamlab_book.stored.load_stored` does.
    packages : tuple of str
        Without which the result is left out; this project does not depend on them.
    model : Model, optional
        What it is made for, where that is not the workshop's model.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Workshop, Result], Any]
    settings: Any
    seconds: float
    needs: tuple[str, ...] = ()
    check: Callable[[Workshop, Result], Any] | None = None
    packages: tuple[str, ...] = ()
    model: Model | None = None


@dataclass(eq=False)
class Workshop:
    """Where results are made.

    Attributes
    ----------
    model : Model, default `eamlab.EAM`
        What they are made for.
    folder : path, optional
        One folder for all files; by default each lies where it is shipped.
    kept : path
        Folder of checkpoints and of parts of unfinished results, each under the fingerprint of the
        model and the hashes of the weights that made it, so that no other run takes it for its own.
    """

    model: Model = EAM
    folder: Path | None = None
    kept: Path = ROOT / "bench-out" / "results"
    _networks: dict[str, Any] = field(default_factory=dict, repr=False)
    _saved: float = field(default=0.0, init=False)

    def of(self, result: Result) -> Workshop:
        """Return the workshop of the model that a result is made for."""
        return replace(self, model=result.model) if result.model else self

    def path(self, file: str) -> Path:
        """Return where a file of a result lies, given as in `Result.files`."""
        return ROOT / file if self.folder is None else self.folder / Path(file).name

    def stored(self, name: str, settings: Any) -> dict[str, Any]:
        """Return a result that another one needs."""
        folder = self.path(f"src/eamlab_book/data/{name}.json").parent
        return load_stored(f"{name}.json", settings, folder, model=self.model)

    def network(self, name: str) -> Any:
        """Return a trained workflow, loaded once for each of its weights."""
        sha256 = str(sha256_of(name, self.folder))
        if sha256 not in self._networks:
            shipped = ROOT / "src" / "eamlab_book" / "weights" if name == "global-pooled" else None
            workflow = load_pretrained(name, folder=self.folder or shipped, model=self.model)
            self._networks[sha256] = workflow
        return self._networks[sha256]

    def remember(self, part: Callable[..., Any], *networks: str) -> Callable[..., Any]:
        """Return a function whose answers a killed run leaves to the next one.

        Parameters
        ----------
        part : callable
            ``part(workshop, ...)``; an answer belongs to all arguments but the first, to the
            source of the function, to the model, and to the weights.
        *networks : str
            Names of the networks that it uses.

        Returns
        -------
        callable
            The same without its first argument.
        """
        hashes = [str(sha256_of(name, self.folder))[:16] for name in networks]
        memory = Memory(self.kept / "-".join([self.model.fingerprint, *hashes]), verbose=0)
        cached = memory.cache(part, ignore=["workshop"])

        def answer(*args: Any) -> Any:
            start = time.perf_counter()
            kept = cached.call_and_shelve(self, *args)
            value = kept.get()
            self._saved += kept.duration - (time.perf_counter() - start)
            return value

        return answer

    def timed(self, result: Result) -> tuple[Any, float]:
        """Return what a result's `make` returns, and the seconds that all of its runs took."""
        self._saved, start = 0.0, time.perf_counter()
        content = result.make(self, result)
        return content, time.perf_counter() - start + self._saved
