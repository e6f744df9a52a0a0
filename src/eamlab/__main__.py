"""What the library can do from a terminal: ``python -m eamlab --help``.

Thin: each command reads its options, calls functions of the library, and prints what they return.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from eamlab import __version__

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m eamlab info                           what is installed, and what is shipped
  python -m eamlab check trials.csv --unit ms     how a file is read, and what is left out
  python -m eamlab compose trials.csv --out here  the posterior of the population, by the networks
  python -m eamlab exact trials.csv               the same without networks: the answer key
  python -m eamlab train global --out mine        train a network of your own

A file has one row per trial, with subject, response time and response. In Python there is more:
import eamlab; help(eamlab.compose).
"""

_PACKAGES = ("bayesflow", "keras", "tensorflow-cpu", "tensorflow", "numba", "numpy", "pandas")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0, or 2 after an error, of which one sentence is written to stderr.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["train"]:  # has a parser of its own
        return _train(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _failed("interrupted")
    return 0


_KEYWORD = re.compile(r"\b(columns|unit|coding|min_trials|rt_range)\s?=")


def _failed(error: BaseException | str) -> int:
    text = " ".join(str(error).split())
    if _KEYWORD.search(text):  # the library speaks of its own arguments
        text += " (Here: --subject, --rt, --response, --unit, --coding, --min-trials, --rt-range.)"
    print(f"eamlab: {text}", file=sys.stderr)
    return 2


def _train(arguments: list[str]) -> int:
    if arguments and not {"-h", "--help"} & set(arguments):
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from eamlab.train import main as train

    try:
        train(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else _failed(str(stop.code or ""))
    return 0


# --------------------------------------------------------------------------------------------------
# Options
# --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"eamlab: {message}; see `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m eamlab",
        description="Compositional amortized inference for evidence accumulation models, with the "
        "exact posterior beside it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eamlab {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="versions, shipped weights, and where they are")
    info.set_defaults(run=_info)
    check = commands.add_parser("check", help="read a file of trials; say what was read, what not")
    _add_file(check)
    check.set_defaults(run=_check)
    compose = commands.add_parser("compose", help="the population's posterior by the networks")
    _add_file(compose)
    _add_draws(compose)
    compose.add_argument("--weights", default="global", help="name of the network (global)")
    compose.add_argument("--folder", type=Path, help="where it is, if it is your own")
    compose.set_defaults(run=_compose)
    exact = commands.add_parser("exact", help="the population's exact posterior, without networks")
    _add_file(exact)
    _add_draws(exact)
    exact.set_defaults(run=_exact)
    commands.add_parser("train", help="train a network (python -m eamlab.train)")
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="text file with a header and one row per trial")
    parser.add_argument("--unit", choices=("s", "ms"), help="unit of the response times")
    parser.add_argument("--subject", help="name of the column, if it is not found")
    parser.add_argument("--rt", help="likewise")
    parser.add_argument("--response", help="likewise")
    parser.add_argument(
        "--coding",
        nargs=2,
        metavar=("LOWER", "UPPER"),
        help="the responses that stand for the lower and the upper bound",
    )
    parser.add_argument("--min-trials", type=int, help="leave out subjects with fewer")
    parser.add_argument(
        "--rt-range", nargs=2, type=float, metavar=("FROM", "TO"), help="times to keep (s)"
    )


def _add_draws(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=1000, help="number of draws (1000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draws (1)")
    parser.add_argument("--out", type=Path, help="folder for draws and summaries, as CSV")


# --------------------------------------------------------------------------------------------------
# Commands
# --------------------------------------------------------------------------------------------------


def _trials(options: argparse.Namespace) -> Any:
    from eamlab.trials import read_trials

    columns = {k: v for k in ("subject", "rt", "response") if (v := getattr(options, k))}
    return read_trials(
        options.file,
        columns=columns or None,
        unit=options.unit,
        coding=None if options.coding is None else dict(zip(options.coding, (0, 1), strict=True)),
        min_trials=options.min_trials,
        rt_range=None if options.rt_range is None else tuple(options.rt_range),
    )


def _info(options: argparse.Namespace) -> None:
    package = Path(__file__).resolve().parent
    print(f"eamlab {__version__}, Python {sys.version.split()[0]}")
    for name in _PACKAGES:
        try:
            print(f"  {name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    print(f"weights: {package / 'weights'}")
    for file in sorted((package / "weights").glob("*.json")):
        print(f"  {_card_line(file)}")
    print(f"data: {package / 'data'}")


def _card_line(file: Path) -> str:
    card = json.loads(file.read_text())
    sizes = card["training"]["group_sizes"]
    groups = (
        f"groups of {min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"groups of {sizes[0]}"
    )
    what = "single subjects" if card["kind"] == "local" else groups
    return (
        f"{card['name']}: {what}, {card['parameters']:,} parameters, preset {card['preset']}, made "
        f"{card['made']} with BayesFlow {card['versions']['bayesflow']}"
    )


def _check(options: argparse.Namespace) -> None:
    trials = _trials(options)
    print(trials)
    print(trials.table.describe().loc[["mean", "min", "max"]].round(3).to_string())


def _compose(options: argparse.Namespace) -> None:
    _positive(options)
    trials = _trials(options)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from eamlab.compose import compose
    from eamlab.workflows import load_pretrained

    workflow = load_pretrained(options.weights, folder=options.folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        draws = compose(workflow, trials.by_subject, num_samples=options.samples, seed=options.seed)
    _report(options, trials, draws, [w for w in caught if w.category is UserWarning])


def _exact(options: argparse.Namespace) -> None:
    _positive(options)
    trials = _trials(options)
    from eamlab.reference import ReferenceWarning, exact_posterior

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReferenceWarning)
        posterior = exact_posterior(trials.by_subject, options.samples, seed=options.seed)
    _report(options, trials, posterior.samples, caught)


def _positive(options: argparse.Namespace) -> None:
    """Refuse before anything takes time."""
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}.")


def _report(
    options: argparse.Namespace, trials: Any, draws: Mapping[str, Any], caught: Sequence[Any]
) -> None:
    print(trials)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(_summary(draws).to_string(float_format="{:.3f}".format))
    if options.out is not None:
        from eamlab.results import write_results

        files = write_results(options.out, draws, trials=trials, netcdf=False)
        print("written:", *(str(file) for file in files.values()))


def _summary(draws: Mapping[str, Any]) -> pd.DataFrame:
    """Mean, sd and the central 90 % of each parameter."""
    from eamlab.priors import GROUP_PRIOR

    columns = {name: np.ravel(draws[name]).astype(float) for name in GROUP_PRIOR.names}
    rows = {name: [x.mean(), x.std(), *np.quantile(x, (0.05, 0.95))] for name, x in columns.items()}
    return pd.DataFrame.from_dict(rows, "index", columns=["mean", "sd", "5 %", "95 %"])


if __name__ == "__main__":
    sys.exit(main())
