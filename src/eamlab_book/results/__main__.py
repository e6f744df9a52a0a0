"""Make what is stale: ``make results``, or ``python -m eamlab_book.results [NAME ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from eamlab_book.results.plan import Task, in_words, make, plan
from eamlab_book.results.registry import RESULTS
from eamlab_book.results.workshop import Workshop


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    names = ", ".join(result.name for result in RESULTS)
    parser = argparse.ArgumentParser(prog="python -m eamlab_book.results", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default, or {names}")
    parser.add_argument("--dry-run", action="store_true", help="say what is stale, make nothing")
    args = parser.parse_args(argv)
    workshop = Workshop()
    try:
        tasks = plan(workshop, args.names)
        print(_told(tasks), flush=True)
        if not args.dry_run:
            make(workshop, tasks, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on where it stopped")
    except (RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


def _told(tasks: Sequence[Task]) -> str:
    """Return what is stale, in its order, how long each takes, and why."""
    if not tasks:
        return "nothing is stale"
    total = sum(task.seconds for task in tasks if not task.lacks)
    lines = [f"{len(tasks)} stale, about {in_words(total)} without what earlier runs left:"]
    for result, reason, seconds, lacks in tasks:
        why = f"left out, it needs {', '.join(lacks)}; {reason}" if lacks else reason
        lines.append(f"  {result.name:<16}{in_words(seconds):>8}  {why}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
