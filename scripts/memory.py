"""The memory of a process and all its children, watched from a thread."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Watch:
    """Peaks of resident memory (MB, 10^6 bytes); kills all processes above a limit.

    Parameters
    ----------
    process : psutil.Process
        A kernel; or a server, whose kernels are its children.
    limit_mb : float
        Memory of all together that ends them.
    """

    process: psutil.Process
    limit_mb: float = float("inf")
    every_s: float = 0.05
    peak_mb: float = 0.0
    children_peak_mb: float = 0.0
    children_threads: int = 0
    exceeded: bool = False
    done: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator["Watch"]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.done.set()
            thread.join()

    def _run(self) -> None:
        while not self.done.wait(self.every_s) and not self.exceeded:
            self.look()

    def look(self) -> None:
        with contextlib.suppress(psutil.Error):  # it has just ended
            children = self.process.children(recursive=True)
            sizes = [resident_mb(child) for child in children]
            total = highest_mb(self.process) + sum(sizes)
            self.peak_mb = max(self.peak_mb, total)
            self.children_peak_mb = max(self.children_peak_mb, sum(sizes))
            if total > self.limit_mb:
                self.exceeded = True
                stop(self.process)
            threads = max((child.num_threads() for child in children), default=0)
            self.children_threads = max(self.children_threads, threads)


def resident_mb(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 1e6
    except psutil.Error:
        return 0.0


def highest_mb(process: psutil.Process) -> float:
    """High-water mark where the system keeps one (Linux), else the memory of this moment."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return resident_mb(process)
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return float(marks[0]) * 1024 / 1e6 if marks else resident_mb(process)


def stop(process: psutil.Process) -> None:
    """Kill a process and all its children; first itself, or it might end well without them."""
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                one.kill()
