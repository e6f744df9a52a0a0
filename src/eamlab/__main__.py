"""What the library can do from a terminal: ``python -m eamlab --help``.

Thin: each command reads its options, calls functions of the library, and prints what they return.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from eamlab import __version__

_EXAMPLES = """\
examples:
  python -m eamlab info                           what is installed, and what is shipped
  python -m eamlab read trials.csv --unit ms      how a file is read, and what is left out
  python -m eamlab compose trials.csv --out here  the posterior of the population, by the networks
  python -m eamlab compose folder --out here      the same of many files; what is done is kept
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
    try:
        if arguments[:1] == ["train"]:  # has a parser of its own
            from eamlab.training import main as train

            train(arguments[1:])
        else:
            options = _parser().parse_args(arguments)
            options.run(options)
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        return _failed(error)
    except KeyboardInterrupt as stop:
        return _failed(str(stop) or "interrupted")
    return 0


def _failed(error: BaseException | str) -> int:
    print(f"eamlab: {_in_options(' '.join(str(error).split()))}", file=sys.stderr)
    return 2


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
    read = commands.add_parser("read", help="read a file of trials; say what was read, what not")
    _add_file(read)
    read.set_defaults(run=_read)
    compose = commands.add_parser("compose", help="the population's posterior by the networks")
    _add_file(compose)
    compose.add_argument(
        "--weights", help="name of the network (laboratory; with --conditions, two-conditions)"
    )
    compose.add_argument("--folder", type=Path, help="where it is, if it is your own")
    compose.set_defaults(run=_draw, command="compose")
    exact = commands.add_parser("exact", help="the population's exact posterior, without networks")
    _add_file(exact)
    exact.add_argument(
        "--model",
        choices=("EAM", "LABORATORY", "TWO_CONDITIONS"),
        help="whose prior (LABORATORY; with --conditions, TWO_CONDITIONS)",
    )
    exact.set_defaults(run=_draw, command="exact")
    for verb in (compose, exact):
        verb.add_argument("--samples", type=int, default=1000, help="number of draws (1000)")
        verb.add_argument("--seed", type=int, default=1, help="seed of the draws (1)")
        verb.add_argument("--out", type=Path, help="folder for draws and summaries, as CSV")
    commands.add_parser("train", help="train a network; see `train --help`")
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    add, who = parser.add_argument, parser.add_mutually_exclusive_group()
    add(
        "file",
        type=Path,
        help="text file with a header, or Parquet file, with one row per trial; for compose, too, "
        "a folder of these, which may be larger than the memory",
    )
    add("--unit", choices=("s", "ms", "us"), help="unit of the response times")
    add("--decimal", choices=(".", ","), metavar="MARK", help="of the times: a point or a comma")
    who.add_argument(
        "--subject",
        action="append",
        help="name of the column, if it is not found; several times, if several columns name a "
        "person together (numbers for all three columns, from 0: the file has no header)",
    )
    who.add_argument("--one-subject", action="store_true", help="all rows are of one person")
    add("--rt", help="name of the column, if it is not found")
    add("--response", help="likewise; that of the times, if their sign is it")
    told = "the responses that stand for the lower and the upper bound"
    add("--coding", nargs=2, metavar=("LOWER", "UPPER"), help=told)
    none = "beside --coding: a response that is none; ... for all others"
    add("--no-response", action="append", default=[], metavar="VALUE", help=none)
    two = (
        "column of two conditions; with two values: the first and the second of them, others are "
        "left out"
    )
    add("--conditions", nargs="+", metavar=("COLUMN", "VALUE"), help=two)
    missing = "a time or response that means missing"
    add("--missing", action="append", default=[], metavar="VALUE", help=missing)
    add("--min-trials", type=int, help="leave out subjects with fewer")
    add("--rt-range", nargs=2, type=float, metavar=("FROM", "TO"), help="times to keep (s)")


# --------------------------------------------------------------------------------------------------
# Commands
# --------------------------------------------------------------------------------------------------


def _study(options: argparse.Namespace) -> Any:
    from eamlab.reading import read_trials

    return read_trials(options.file, **_reading(options))


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as `read_trials` takes them."""
    coding = None
    if options.coding is not None:
        if len(set(options.coding)) < 2:
            raise ValueError(f"--coding needs two values, got {options.coding[0]!r} twice.")
        coding = dict(zip(options.coding, (0, 1), strict=True))
        coding |= {... if value == "..." else value: None for value in options.no_response}
    elif options.no_response:
        raise ValueError("--no-response needs --coding LOWER UPPER.")
    conditions = options.conditions
    if conditions:
        column, *values = conditions
        conditions = {column: tuple(values)} if values else column
    return {
        "columns": _columns(options) or None,
        "unit": options.unit,
        "decimal": options.decimal,
        "coding": coding,
        "conditions": conditions,
        "missing": options.missing,
        "min_trials": options.min_trials,
        "rt_range": None if options.rt_range is None else tuple(options.rt_range),
    }


def _columns(options: argparse.Namespace) -> dict[str, Any]:
    subject = list(dict.fromkeys(options.subject or []))  # advice repeats what was said
    others = [options.rt, options.response]
    told = (subject or options.one_subject) and all(others)
    if told and all(name.isdecimal() for name in [*subject, *others]):  # no header
        subject, others = [int(name) for name in subject], [int(name) for name in others]
    columns = {k: v for k, v in zip(("rt", "response"), others, strict=True) if v is not None}
    if options.one_subject:
        columns["subject"] = None
    elif subject:
        columns["subject"] = subject if len(subject) > 1 else subject[0]
    return columns


def _in_options(text: str) -> str:
    """What the library says of its arguments, as options of the terminal."""
    text = re.sub(r"`([^`]+)`", lambda found: f"`{_translated(found[1])}`", text)
    return re.sub(r"\b(min_trials|rt_range)\b", lambda found: _option(found[1]), text)


def _translated(call: str) -> str:
    """``unit='ms'`` as ``--unit ms``; anything else as it is."""
    try:
        parsed = ast.parse(f"_({call})", mode="eval").body
        keywords = parsed.keywords if isinstance(parsed, ast.Call) else []
        given = [(str(keyword.arg), ast.literal_eval(keyword.value)) for keyword in keywords]
    except (SyntaxError, ValueError):
        return call
    if not given:
        return call
    return " ".join(part for name, value in given for part in _parts(name, value))


def _parts(name: str, value: Any) -> Iterable[str]:
    if name == "columns":
        for role, column in value.items():
            several = column if isinstance(column, list) else [column]
            yield from (_option("one-subject" if x is None else role, x) for x in several)
    elif name == "coding":
        bounds = {bound: key for key, bound in value.items()}
        if {0, 1} <= set(bounds):
            yield _option(name, bounds[0], bounds[1])
        none = (key for key, bound in value.items() if bound is None)
        yield from (_option("no-response", "..." if key is ... else key) for key in none)
    elif name == "conditions":
        yield from (_option(name, column, *values) for column, values in value.items())
    elif name == "missing":
        yield from (_option(name, x) for x in value)
    else:
        yield _option(name, *(value if isinstance(value, tuple) else (value,)))


def _option(name: str, *values: Any) -> str:
    texts = [shlex.quote(str(value)) for value in values if value is not None]
    return " ".join([f"--{name.replace('_', '-')}", *texts])


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
        card = json.loads(file.read_text(encoding="utf-8"))
        sizes = sorted(set(card["training"]["group_sizes"]))
        groups = f"groups of {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "")
        what = "single subjects" if card["kind"] == "local" else groups
        print(
            f"  {card['name']}: {what}, {card['parameters']:,} parameters, preset "
            f"{card['preset']}, made {card['made']} with BayesFlow {card['versions']['bayesflow']}"
        )


def _read(options: argparse.Namespace) -> None:
    study = _study(options)
    print(_in_options(str(study)))
    print(study.table.describe().loc[["mean", "min", "max"]].round(3).to_string())


def _draw(options: argparse.Namespace) -> None:
    """Draw by networks or exactly, print the summary, write what is asked for."""
    # Refuse before anything takes time.
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}.")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}.")
    folder = options.command == "compose" and options.file.is_dir()
    study = options.file if folder else _study(options)
    shown: type[UserWarning] = UserWarning
    if options.command == "compose":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from eamlab.composition.posterior import compose
        from eamlab.composition.terms import summarize
        from eamlab.workflows import load_pretrained

        usual = "two-conditions" if options.conditions else "laboratory"
        workflow = load_pretrained(options.weights or usual, folder=options.folder)
        verb = partial(compose, workflow)
    else:
        import eamlab as el
        from eamlab.reference.posterior import ReferenceWarning

        usual = "TWO_CONDITIONS" if options.conditions else "LABORATORY"
        model = getattr(el, options.model or usual)
        verb, shown = partial(el.exact, model=model), ReferenceWarning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", shown)
        if folder:  # one file after the other
            keep = None if options.out is None else options.out / "terms"
            study = summarize(workflow, study, out=keep, **_reading(options))
        draws = verb(study, num_samples=options.samples, seed=options.seed)
    print(_in_options(str(study)))
    for warning in caught:
        if warning.category in (UserWarning, shown):
            print(f"warning: {warning.message}", file=sys.stderr)
    print(draws.summary().to_string(float_format="{:.3f}".format))
    if options.out is not None:
        files = draws.write(options.out)
        print("written:", *(str(file) for file in files.values()))


if __name__ == "__main__":
    sys.exit(main())
