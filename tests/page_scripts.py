"""Runs the lab page's scripts in Node."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from eamlab_book.network_file import engine_scripts
from eamlab_book.widgets.widget import script_folder

_RUN = """
const vm = require("vm");
const { scripts, code, inputs } = JSON.parse(require("fs").readFileSync(0, "utf8"));
globalThis.all = (work) => { let step; while (!(step = work.next()).done); return step.value; };
for (const script of scripts) vm.runInThisContext(script);
Promise.resolve(vm.runInThisContext(`(async (inputs) => { ${code} })`)(inputs)).then((found) =>
  process.stdout.write(JSON.stringify(found, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v)));
"""
LAB = ("playground.js", "lab/reading.js", "lab/check.js")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node")


def in_page(code: str, inputs: Any, scripts: tuple[str, ...] = LAB, networks=()) -> Any:
    """What ``return ...`` in `code` returns of `inputs`; ``all(generator)`` runs one to its end."""
    names = dict.fromkeys([*engine_scripts(*networks), *scripts])
    texts = [(script_folder() / name).read_text(encoding="utf-8") for name in names]
    done = subprocess.run(
        ["node", "-e", _RUN],
        input=json.dumps({"scripts": texts, "code": code, "inputs": inputs}),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
