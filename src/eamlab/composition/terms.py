"""What a composition knows of a population: one term per group, to add up and to take away.

A group of up to some hundred people is a row of summaries, from which the network reads the group's
Gaussian and what is not Gaussian about it; composing needs nothing else of the data. So trials may
come in chunks that are forgotten once they are summarized, a million people are some megabytes, and
people who leave take only the terms of their groups with them.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from eamlab.backend import bf

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm.auto import tqdm

from eamlab.composition.groups import (
    checked_model,
    group_sizes,
    split_subjects,
    summarize_groups,
    trained_sizes,
)
from eamlab.files import replaced
from eamlab.model.model import Model
from eamlab.reading import read_trials
from eamlab.study import Study, as_study
from eamlab.workflows import model_of, workflow_of_card

__all__ = ["Terms", "summarize"]

_SUFFIX = ".terms.npz"
_MANY = 2  # times the groups that are needed, from which on chunks are too small
_SHOWN = 5  # notes or ids
_NOBODY = "nobody is left: terms need at least one group."


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of all groups of a population, made by `eamlab.summarize`.

    ``a + b`` are those of both populations, ``a - b`` those of `a` without the groups of `b`, and
    ``len(a)`` is the number of people. Of trials there are only summaries of whole groups, and of
    ids 64 bits that tell whether a person is there already.

    Attributes
    ----------
    summaries : ndarray float32 (n_groups, summary_dim)
        As in `Draws.summaries`.
    sizes : ndarray of int (n_groups,)
        People of each group.
    subjects : ndarray of uint64 (J,)
        Hashes of the people's ids, group after group.
    n_trials : ndarray of int (J,)
        Trials of each person.
    model : dict
        `Model.description` of whom these are terms.
    weights : str
        Hash of the network's weights.
    notes : tuple of str
        What was left out when files were read, and what `read_trials` noticed.
    """

    summaries: NDArray[np.float32]
    sizes: NDArray[np.int64]
    subjects: NDArray[np.uint64]
    n_trials: NDArray[np.int64]
    model: Mapping[str, Any]
    weights: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        lines = [f"Terms of {self.model['name']}: {len(self):,} people, {len(self.sizes):,} groups"]
        lines += [f"  note: {note}" for note in self.notes[:_SHOWN]]
        more = len(self.notes) - _SHOWN
        return "\n".join([*lines, *([f"  and {more} notes more"] if more > 0 else [])])

    def __add__(self, other: Terms) -> Terms:
        return _joined([self, other]) if isinstance(other, Terms) else NotImplemented

    def __radd__(self, other: Any) -> Terms:
        return self if other == 0 else NotImplemented  # sum() starts with 0

    def __sub__(self, other: Terms) -> Terms:
        if not isinstance(other, Terms):
            return NotImplemented
        _check_alike([self, other])
        stay = ~np.isin(self._keys, other._keys)
        if (~stay).sum() < len(other.sizes):
            raise ValueError(
                f"what is subtracted has {len(other.sizes)} groups, of which {(~stay).sum()} are "
                "in the sum; subtract what was added, or single people by .without(ids, ...)."
            )
        return self._groups(stay)

    def without(self, subjects: Iterable[Any], workflow: Any, study: Study) -> Terms:
        """Return the terms without some people: only those of their groups are made anew.

        Who shared a group with them stays in it, so this is what one would have got by summarizing
        the same groups without them; a group that loses everybody is gone.

        Parameters
        ----------
        subjects : iterable
            Ids of the people who leave.
        workflow : bayesflow.CompositionalWorkflow
            The network that made the terms.
        study : Study
            With the trials of those who stay in the groups of those who leave; more do no harm.

        Returns
        -------
        Terms

        Raises
        ------
        ValueError
            If somebody who leaves is not in the sum, somebody who stays not in the study, or there
            with other trials, if the groups become too small for the network, or it is another one.
        """
        self.check_made_by(workflow)
        study = as_study(study)
        if isinstance(subjects, str) or not isinstance(subjects, Iterable):
            raise ValueError(
                f"subjects must be ids, got {subjects!r}; for one person: [{subjects!r}]."
            )
        ids = list(subjects)
        gone = _hashes(ids)
        unknown = ~np.isin(gone, self.subjects)
        if unknown.any():
            first = [ids[i] for i in np.flatnonzero(unknown)[:_SHOWN]]
            raise ValueError(f"subjects: {unknown.sum()} of them are not in the sum: {first}.")
        leaves = np.isin(self.subjects, gone)
        owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        left = np.bincount(owner[~leaves], minlength=len(self.sizes))
        touched = left < self.sizes
        sizes = -np.sort(-left[touched & (left > 0)])
        least = min([*sizes, np.inf])
        if least < min(trained_sizes(workflow)):
            raise ValueError(
                f"subjects: without them a group has {least} people, fewer than any that the "
                "network was trained on; summarize all who stay anew."
            )
        parts = [] if touched.all() else [self._groups(~touched)]
        if len(sizes):
            stays = np.flatnonzero(touched[owner] & ~leaves)
            # Groups of equal sizes next to each other, as they are summarized.
            stays = stays[np.lexsort((owner[stays], -left[owner[stays]]))]
            places = pd.Index(_hashes(study.subjects)).get_indexer(self.subjects[stays])
            if (places < 0).any():
                raise ValueError(
                    f"study lacks {(places < 0).sum():,} people who shared a group with those who "
                    "leave; their terms cannot be made anew without their trials."
                )
            others = np.flatnonzero(study.n_trials[places] != self.n_trials[stays])
            if others.size:
                raise ValueError(
                    f"study has other numbers of trials than the terms for {others.size:,} people "
                    f"who stay, {study.subjects[places[others[0]]]!r} first; pass the one they "
                    "were made of."
                )
            parts.append(_of_study(workflow, study[places], sizes.tolist()))
        if not parts:
            raise ValueError(_NOBODY)
        return replace(_joined(parts), notes=self.notes)

    def write(self, file: str | os.PathLike[str]) -> Path:
        """Write the terms into a file, which `eamlab.summarize` takes like one of trials.

        It is written under another name first, so that a reader sees all of it or nothing.

        Parameters
        ----------
        file : path
            Its name must end in ``.terms.npz``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            If the name ends otherwise.
        """
        file = Path(file)
        if not file.name.endswith(_SUFFIX):
            raise ValueError(f"file must end in {_SUFFIX}, got {file.name!r}.")
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays |= {k: json.dumps(arrays[k]) for k in ("model", "notes")}
        with replaced(file) as scratch:
            np.savez_compressed(scratch, **arrays)
        return file

    def check_made_by(self, workflow: Any) -> None:
        """Refuse terms that another network made, or this one for another model.

        Raises
        ------
        ValueError
            With what differs.
        """
        how = "summarize the trials again, or load the network that made the terms"
        model_of(workflow).check_made_with(self.model, "the terms", how)
        if self.weights != _weights_hash(workflow):
            raise ValueError(f"terms: they were made by a network with other weights; {how}.")

    @property
    def _keys(self) -> NDArray[np.uint64]:
        """One number per group, the same whatever the order of its people."""
        return np.add.reduceat(self.subjects, np.cumsum(self.sizes) - self.sizes)

    def _groups(self, which: NDArray[np.bool_]) -> Terms:
        if not which.any():
            raise ValueError(_NOBODY)
        people = np.repeat(which, self.sizes)
        return replace(
            self,
            summaries=self.summaries[which],
            sizes=self.sizes[which],
            subjects=self.subjects[people],
            n_trials=self.n_trials[people],
        )


def summarize(
    workflow: bf.CompositionalWorkflow,
    chunks: Any,
    *,
    group_size: int | str = "auto",
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    **reading: Any,
) -> Terms:
    """Summarize a population chunk by chunk: all that `eamlab.compose` needs to know of it.

    The trials of a chunk are forgotten once its groups are summarized, so memory is that of one
    chunk, and some 15 bytes per person. Composing the sum of chunks is composing their people at
    once, in the same groups. Chunks of some thousand people do well: groups are no larger than
    their chunk.

    Inside ``joblib.parallel_config(n_jobs=4)`` chunks are read and summarized in as many processes;
    inside ``joblib.parallel_config("dask")``, with a ``distributed.Client`` open, by the workers of
    its cluster, which need this package and must see files and `out` under the same paths. If one
    dies, another does its chunks.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A trained global workflow.
    chunks : Study, path, or iterable of these
        A path is a file as `eamlab.read_trials` takes it, one that `Terms.write` wrote, or a folder
        of such files and folders, taken in the order of their names; names that begin with a dot
        or an underscore are left out. Nobody may be in two chunks.
    group_size : int or "auto", default "auto"
        People per group, as in `eamlab.compose`, of each chunk.
    out : path, optional
        Folder that keeps the terms of every chunk as soon as they are made. The same call goes on
        where an earlier one was stopped, and makes only those of chunks that are new or have
        changed; in the end terms of chunks that are gone are deleted from it.
    progress : bool, optional
        Default: a bar when it takes more than two seconds.
    **reading
        Options of `eamlab.read_trials` for files of trials.

    Returns
    -------
    Terms
        Its ``.notes`` say what was left out of the files.

    Warns
    -----
    UserWarning
        If chunks are so small that there are many more groups than needed.

    Raises
    ------
    ValueError
        If there are no chunks, if people are in several, or the terms in a file are those of
        another network; and as `eamlab.read_trials`, with the name of the file.
    """
    checked_model(workflow)
    single = isinstance(chunks, Study | Terms | str | os.PathLike)
    several = isinstance(chunks, Iterable) and not isinstance(chunks, Mapping | pd.DataFrame)
    if not single and not several:
        raise ValueError(
            "chunks must be a Study, a path, or several of these in a row, got "
            f"{type(chunks).__name__}; pass the .values() of a mapping, and a table's "
            "el.read_trials(table)."
        )
    chunks = _files([chunks] if single else chunks)
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    work = delayed(_of_chunk)
    carried = _Carried(workflow)
    made = Parallel(return_as="generator")(
        work(carried, chunk, group_size, folder, reading) for chunk in chunks
    )
    total = len(chunks) if isinstance(chunks, list) else None
    options: dict[str, Any] = {"unit": "chunk", "delay": 2.0, "disable": progress is False}
    bar = tqdm(made, "summarizing", total, **options)
    known: list[Terms] = []
    new: list[Terms] = []
    kept: set[str] = set()
    for terms, name in bar:
        new.append(terms)
        kept.add(name)
        # Joined whenever they have doubled: who is there twice is found early, at little cost.
        if sum(map(len, new)) >= sum(map(len, known)):
            known, new = [_joined(known + new)], []
    if not kept:
        raise ValueError("chunks: there are none; give a Study, a file, or several.")
    if folder is not None:
        for file in set(folder.glob("[0-9a-f]" * 64 + _SUFFIX)) - {folder / name for name in kept}:
            file.unlink()
    terms = _joined(known + new)
    most = max(trained_sizes(workflow))
    needed = -(-len(terms) // most)
    if group_size == "auto" and len(terms.sizes) > _MANY * needed:
        warnings.warn(
            f"chunks: {len(terms):,} people are {len(terms.sizes):,} groups, where {needed:,} of "
            f"{most} would do, and many small groups add up many small errors; make chunks larger.",
            stacklevel=2,
        )
    return terms


def _files(chunks: Iterable[Any]) -> Any:
    """Folders as the files in them: a list, if its length is known."""

    def each() -> Iterator[Any]:
        for chunk in chunks:
            if isinstance(chunk, str | os.PathLike) and Path(chunk).is_dir():
                inside = (p.relative_to(chunk) for p in sorted(Path(chunk).rglob("*")))
                shown = [p for p in inside if not any(x[0] in "._" for x in p.parts)]
                yield from (p for name in shown if (p := chunk / name).is_file())
            else:
                yield chunk

    return list(each()) if isinstance(chunks, Sequence) else each()


def _of_chunk(
    carried: _Carried, chunk: Any, group_size: int | str, out: Path | None, reading: dict[str, Any]
) -> tuple[Terms, str]:
    """Return the terms of one chunk, read, kept or made now; and the name under which to keep."""
    workflow, is_path = carried.workflow, isinstance(chunk, str | os.PathLike)
    path = Path(chunk) if is_path else Path()
    if isinstance(chunk, Terms) or path.name.endswith(_SUFFIX):
        terms = chunk if isinstance(chunk, Terms) else _read(path)
        terms.check_made_by(workflow)
        return terms, path.name
    if not is_path and reading:
        raise ValueError(f"chunks: {list(reading)} are for files, got a {type(chunk).__name__}.")
    name = ""
    if out is not None:
        if is_path:
            content = path.read_bytes()
        else:
            whole = as_study(chunk, "chunks")
            content = whole.trials.tobytes() + _hashes(whole.subjects).tobytes()
        name = _digest(_weights_hash(workflow), repr((group_size, reading)), content) + _SUFFIX
        if (out / name).exists():
            terms = _read(out / name)
            terms.check_made_by(workflow)
            return terms, name
    if is_path:
        try:
            chunk = read_trials(path, **reading)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if path.name in text else f"{path.name}: {text}") from error
    study = as_study(chunk, "chunks", checked_model(workflow, [chunk]))
    sizes = group_sizes(group_size, len(study), trained_sizes(workflow))
    terms = _of_study(workflow, study, sizes, path.name)
    if out is not None:
        terms.write(out / name)
    return terms, name


def _of_study(workflow: Any, study: Study, sizes: Sequence[int], source: str = "") -> Terms:
    notes = list(study.notes)
    if study.report is not None:
        lost = study.report["trials"][1:]
        notes += [f"{n:,} trials left out: {reason}" for reason, n in lost.items()]
    return Terms(
        summarize_groups(workflow, split_subjects(study.trials, sizes)),
        np.array(sizes),
        _hashes(study.subjects),
        study.n_trials.astype(np.int64),
        model_of(workflow).description(),
        _weights_hash(workflow),
        tuple(f"{source}: {note}" if source else note for note in notes),
    )


def _joined(parts: Sequence[Terms]) -> Terms:
    if len(parts) == 1:
        return parts[0]
    _check_alike(parts)
    arrays = ("summaries", "sizes", "subjects", "n_trials")
    joined: dict[str, Any] = {
        k: np.concatenate([getattr(part, k) for part in parts]) for k in arrays
    }
    twice = len(joined["subjects"]) - len(np.unique(joined["subjects"]))
    if twice:
        raise ValueError(
            f"{twice:,} people are in the sum twice. If it is a person whose trials are in several "
            "chunks, put these into one; if they are others with the same ids, as in files that "
            "number their people anew, give them ids of their own: el.Study(trials, subjects=...), "
            "or a column more that tells them apart, columns={'subject': ['site', 'subject']}."
        )
    return replace(parts[0], **joined, notes=sum((part.notes for part in parts), ()))


def _check_alike(parts: Sequence[Terms]) -> None:
    if len({(json.dumps(part.model, sort_keys=True), part.weights) for part in parts}) > 1:
        raise ValueError(
            "terms of different networks or models cannot be added or subtracted; summarize all "
            "with the same workflow."
        )


def _read(file: Path) -> Terms:
    try:
        with np.load(file, allow_pickle=False) as stored:
            values = {k: stored[k] for k in (f.name for f in fields(Terms))}
        values |= {k: json.loads(str(values[k])) for k in ("model", "notes")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        if not file.exists():
            raise
        raise ValueError(f"{file.name} is not a file that Terms.write wrote: {error}") from error
    values |= {"weights": str(values["weights"]), "notes": tuple(values["notes"])}
    return Terms(**values)


# --------------------------------------------------------------------------------------------------
# Who is who
# --------------------------------------------------------------------------------------------------


def _hashes(ids: Sequence[Any]) -> NDArray[np.uint64]:
    """Hashes of ids, of which 7, 7.0 and "7" are one."""
    whole = (int(x) if isinstance(x, float) and x.is_integer() else x for x in ids)
    return pd.util.hash_array(np.array([str(x) for x in whole], dtype=object), categorize=False)


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return digest.hexdigest()


def _weights_hash(workflow: Any) -> str:
    return _digest(*(w.tobytes() for w in workflow.estimator.get_weights()))


_BUILT: dict[str, Any] = {}


class _Carried:
    """A workflow that travels to another process as its card and weights, and is built there once.

    BayesFlow's own hold functions and compiled programs, which do not travel.
    """

    def __init__(self, workflow: Any) -> None:
        self.workflow = workflow

    def __reduce__(self) -> Any:
        card = getattr(self.workflow, "model_card", None)
        if card is None:
            raise ValueError(
                "workflow has no model card and cannot go to other processes; take one from "
                "train() or load_pretrained(), or summarize without joblib.parallel_config."
            )
        weights = self.workflow.estimator.get_weights()
        return _rebuilt, (_weights_hash(self.workflow), card, model_of(self.workflow), weights)


def _rebuilt(key: str, card: dict[str, Any], model: Model, weights: list[NDArray]) -> _Carried:
    if key not in _BUILT:
        workflow = workflow_of_card(card, model)
        workflow.estimator.set_weights(weights)
        workflow.model_card = card
        _BUILT[key] = workflow
    return _Carried(_BUILT[key])
