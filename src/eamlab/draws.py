"""Posterior draws: a mapping from names to arrays whose axes have names, and what made them.

Every function that infers returns `Draws` of one study: a group parameter is an array (S,) over
draws, a person's parameter an array (S, J) over draws and people. Draws of several studies are a
list. Everything that judges, draws or writes takes them as they are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab.model.model import Model

if TYPE_CHECKING:
    from eamlab.study import Study

FloatArray = NDArray[np.float64]

_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


class Draws(Mapping[str, FloatArray]):
    """Draws of one study's posterior, by name.

    ``b - a`` are the draws of the difference between two groups of people.

    Parameters
    ----------
    values : mapping of str to array_like (S,) or (S, J)
        Group parameters, and people's; draw s of all names belongs together.
    model : Model, optional
        Whose parameters they are.
    subjects : sequence, optional
        Ids of the people.
    settings : mapping, optional
        Passes back into the call that made them.
    mean, sd : mapping of str to float, optional
        Moments that are known better than from the draws; by default those of the draws.
    warnings : sequence of str, optional
        Failed diagnostics, which were also issued as warnings.
    diagnostics : mapping, optional
        How the sampler fared.
    **arrays
        What else the call has to say, as attributes.

    Raises
    ------
    ValueError
        If arrays are not (S,) or (S, J), or S or J differ.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        model: Model | None = None,
        subjects: Sequence[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        mean: Mapping[str, float] | None = None,
        sd: Mapping[str, float] | None = None,
        warnings: Sequence[str] = (),
        diagnostics: Mapping[str, Any] | None = None,
        summaries: NDArray | None = None,
        path: NDArray | None = None,
        times: NDArray | None = None,
    ) -> None:
        self._values = {k: np.asarray(v, dtype=float) for k, v in values.items()}
        shapes = {k: v.shape for k, v in self._values.items()}
        if not shapes:
            raise ValueError("values must hold the draws of at least one parameter.")
        people = {s[1] for s in shapes.values() if len(s) == 2}
        people |= set() if subjects is None else {len(subjects)}
        fit = all(len(s) in (1, 2) and 0 not in s for s in shapes.values())
        if not fit or len({s[0] for s in shapes.values()}) > 1 or len(people) > 1:
            raise ValueError(
                "values must be arrays (S,) of a group's parameters, or (S, J) of people's, with "
                f"the same S and J, got {shapes}"
                + (f" for {len(subjects)} subjects." if subjects is not None else ".")
            )
        self.model = model
        self.settings = {
            k: v.item() if isinstance(v, np.generic) else v for k, v in (settings or {}).items()
        }
        self.subjects = None if subjects is None else tuple(subjects)
        self.warnings, self.diagnostics = tuple(warnings), dict(diagnostics or {})
        self.summaries, self.path, self.times = summaries, path, times
        self._moments = (mean, sd)

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._values:
            raise KeyError(f"no draws of {name!r}; there are those of {tuple(self._values)}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        model = f" of {self.model.name}" if self.model else ""
        people = f", {self.n_subjects:,} subjects" if self.n_subjects else ""
        return f"Draws{model}: {self.num_samples:,} draws of {', '.join(self)}{people}"

    def _repr_html_(self) -> str:
        return str(self.summary().round(3).to_html(max_rows=20))

    def __sub__(self, other: Draws) -> Draws:
        """Return the draws of how much larger the group's parameters are than in another group.

        That is right for *other people* in each of two conditions, whose posteriors are
        independent. Draws are paired at random, since those of one seed share their noise. For the
        same people it claims too much doubt: read both conditions as one study,
        `eamlab.read_trials` with ``conditions=``, and take a model of both.

        Parameters
        ----------
        other : Draws
            As many, of the same model.

        Returns
        -------
        Draws
            Of the group's parameters; of no model, since a difference is not one of its parameters.

        Warns
        -----
        UserWarning
            If people of both have the same ids.

        Raises
        ------
        ValueError
            If the other draws are not as many, of another model, or of other parameters.
        """
        if not isinstance(other, Draws):
            return NotImplemented
        if self.model and other.model:
            how = "take draws of one model"
            self.model.check_made_with(other.model.description(), "what is subtracted", how)
        if set(self.group_names) != set(other.group_names):
            raise ValueError(
                f"what is subtracted has the group parameters {other.group_names}, the other "
                f"draws have {self.group_names}; take the same."
            )
        if self.num_samples != other.num_samples:
            raise ValueError(
                f"what is subtracted has {other.num_samples} draws, the other {self.num_samples}; "
                "take as many: num_samples="
            )
        same = list({*(self.subjects or ())} & {*(other.subjects or ())})
        if same:
            warnings.warn(
                f"ids are in both groups ({len(same)}, such as {same[0]!r}). If these are the same "
                "people, the difference claims too much doubt: read both conditions as one study, "
                "el.read_trials(..., conditions=), and compose it with 'two-conditions'.",
                UserWarning,
                stacklevel=2,
            )
        names = self.group_names
        shuffled = np.random.default_rng(0).permutation(self.num_samples)
        return Draws(
            {k: self[k] - other[k][shuffled] for k in names},
            mean={k: self.mean[k] - other.mean[k] for k in names},
            sd={k: float(np.hypot(self.sd[k], other.sd[k])) for k in names},
        )

    @property
    def num_samples(self) -> int:
        """Number of draws S."""
        return len(next(iter(self._values.values())))

    @property
    def n_subjects(self) -> int:
        """Number of people J, 0 for a group's parameters alone."""
        return max((v.shape[1] for v in self._values.values() if v.ndim == 2), default=0)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the arrays (S,)."""
        return tuple(k for k, v in self._values.items() if v.ndim == 1)

    @property
    def person_names(self) -> tuple[str, ...]:
        """Names of the arrays (S, J)."""
        return tuple(k for k, v in self._values.items() if v.ndim == 2)

    @property
    def group(self) -> Draws:
        """The group's parameters alone."""
        kept = {k: self._values[k] for k in self.group_names}
        mean, sd = self._moments
        how: dict[str, Any] = {"subjects": self.subjects, "settings": self.settings}
        return Draws(kept, model=self.model, mean=mean, sd=sd, **how)

    @property
    def array(self) -> FloatArray:
        """The group's parameters as an array (S, d), in the order of names."""
        return np.stack([self._values[k] for k in self.group_names], axis=-1)

    @cached_property
    def mean(self) -> dict[str, Any]:
        """Posterior means, a float or an array (J,) each."""
        return self._moment(0, np.mean)

    @cached_property
    def sd(self) -> dict[str, Any]:
        """Posterior standard deviations, a float or an array (J,) each."""
        return self._moment(1, partial(np.std, ddof=1))

    def _moment(self, which: int, function: Any) -> dict[str, Any]:
        known = self._moments[which]
        if known is not None:
            return {k: float(v) for k, v in known.items()}
        found = {k: function(v, axis=0) for k, v in self._values.items()}
        return {k: v if np.ndim(v) else float(v) for k, v in found.items()}

    def summary(self) -> pd.DataFrame:
        """Return mean, sd and the 5 %, 50 % and 95 % quantiles.

        Returns
        -------
        pandas.DataFrame
            One row per group parameter; with people's parameters, one per person and parameter
            below these, indexed by ``parameter`` and ``subject``.
        """
        rows = {(k, ""): self._values[k] for k in self.group_names}
        ids = self.subjects or range(self.n_subjects)
        for k in self.person_names:
            rows |= {(k, j): x for j, x in zip(ids, self._values[k].T, strict=True)}
        values = np.stack(list(rows.values()))
        table = pd.DataFrame(
            {"mean": values.mean(axis=1), "sd": values.std(axis=1, ddof=1)},
            index=pd.MultiIndex.from_tuples(rows, names=["parameter", "subject"]),
        )
        for name, q in _QUANTILES.items():
            table[name] = np.quantile(values, q, axis=1)
        return table if self.person_names else table.droplevel("subject")

    def to_arviz(self, study: Study | None = None, **options: Any) -> Any:
        """Return draws, and with `study` the data and predictions, as ArviZ takes them.

        Parameters
        ----------
        study : Study, optional
            Whose posterior this is.
        **options
            ``predictive_draws`` (default 50) and ``seed`` (default 0) of the simulations behind
            the group ``posterior_predictive``, which needs people's parameters and `study`.

        Returns
        -------
        xarray.DataTree
            See `eamlab.export`.
        """
        from eamlab.export import to_datatree

        return to_datatree(self, study, **options)

    def write(
        self,
        folder: str | os.PathLike[str],
        study: Study | None = None,
        *,
        netcdf: bool = False,
        **options: Any,
    ) -> dict[str, Path]:
        """Write draws and summaries into a folder, as tables and, if asked for, as netCDF.

        Files are written under another name first and renamed when complete; those of an earlier
        call are replaced.

        Parameters
        ----------
        folder : path
            Made if it does not exist.
        study : Study, optional
            The data, for the netCDF file.
        netcdf : bool, default False
            Whether to write ``posterior.nc`` too, which needs ``pip install "eamlab[arviz]"``.
        **options
            As in `to_arviz`.

        Returns
        -------
        dict of str to Path
            ``"group_draws"`` (one row per draw), ``"group_summary"`` (one row per parameter),
            with people ``"subject_summary"``, and ``"posterior"``.
        """
        from eamlab.export import write

        return write(self, folder, study, netcdf, **options)


def as_draws(draws: Any, name: str = "draws") -> Draws:
    """Return the `Draws` of one study that a function was given.

    A plain mapping of names to arrays (S,) or (S, J) will do, too.

    Raises
    ------
    ValueError
        For the draws of several studies, or anything else.
    """
    if isinstance(draws, Draws):
        return draws
    if isinstance(draws, Mapping):
        return Draws(draws)
    if isinstance(draws, list | tuple) and draws and all(isinstance(d, Draws) for d in draws):
        raise ValueError(
            f"{name} must be the draws of one study, got those of {len(draws)}; take one at a time."
        )
    raise ValueError(f"{name} must be Draws, got {type(draws).__name__}.")


def model_of_draws(draws: Any) -> Model:
    """Return the model whose parameters the draws are of.

    Raises
    ------
    ValueError
        If they do not say it.
    """
    model = as_draws(draws).model
    if model is None:
        raise ValueError(
            "draws do not say of which model they are; give model= to Draws, and instead of a "
            "difference those that were subtracted."
        )
    return model


def group_array(draws: Any, model: Model, name: str = "draws") -> FloatArray:
    """Return the draws of all group parameters (S, d) in the model's order, checked.

    Raises
    ------
    ValueError
        If they are another model's, if parameters are missing, or draws are not finite.
    """
    draws = as_draws(draws, name)
    if draws.model is not None:
        how = f"take the draws that belong to {model.name}"
        model.check_made_with(draws.model.description(), name, how)
    missing = [k for k in model.prior.names if k not in draws.group_names]
    if missing:
        raise ValueError(f"{name} lacks {missing}; needed are all of {model.prior.names}.")
    check_finite({k: draws[k] for k in model.prior.names}, name)
    return np.stack([draws[k] for k in model.prior.names], axis=-1)


def check_finite(draws: Mapping[str, FloatArray], name: str = "draws") -> None:
    """Refuse draws that are not finite.

    Raises
    ------
    ValueError
        With the first parameter of which some are not.
    """
    for k, x in draws.items():
        bad = int((~np.isfinite(x)).sum())
        if bad:
            raise ValueError(
                f"{name}: {bad} of {x.size} values of {k!r} are not finite: the sampler diverged. "
                "Use more steps, or a larger d1."
            )
