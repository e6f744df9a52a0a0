"""Whatever backend the machine prefers: TensorFlow runs, or one sentence says why it does not."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"


def python(code: str, path: Path = SRC, **environ: str | None) -> subprocess.CompletedProcess:
    """Run code in a fresh process; what is None is not in its environment."""
    environ = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{SRC}", **environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in environ.items() if value is not None},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.mark.parametrize("setting", [None, ""])
def test_tensorflow_is_chosen_although_jax_is_installed(tmp_path, setting):
    (tmp_path / "jax.py").write_text("raise ImportError('jax was chosen')", encoding="utf-8")
    run = python(
        "import os\n"
        "from eamlab.workflows import bf, load_pretrained\n"
        "import keras\n"
        "assert keras.backend.backend() == os.environ['KERAS_BACKEND'] == 'tensorflow'",
        tmp_path, KERAS_BACKEND=setting,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "backend selection failed" not in run.stderr


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize(
    "module", ["composition.posterior", "composition.summed", "networks", "training", "workflows"]
)
def test_another_backend_is_refused_before_it_is_looked_for(name, module):
    run = python(f"import eamlab.{module}", KERAS_BACKEND=name)
    last = run.stderr.splitlines()[-1]
    assert last.startswith(
        f"ValueError: eamlab's networks need Keras' backend 'tensorflow', got '{name}'"
    )
    assert "os.environ['KERAS_BACKEND'] = 'tensorflow'" in last


def test_a_backend_that_keras_already_runs_on_is_refused():
    code = (
        "import sys, types\n"
        "keras = sys.modules['keras'] = types.ModuleType('keras')\n"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "import eamlab as el\n"
        "el.compose"
    )
    run = python(code, KERAS_BACKEND="tensorflow")  # set too late
    assert "need Keras' backend 'tensorflow', got 'jax'" in run.stderr.splitlines()[-1]


def test_the_command_line_says_it_in_one_sentence():
    code = "import sys; from eamlab.__main__ import main; sys.exit(main(['train', 'global']))"
    run = python(code, KERAS_BACKEND="torch")
    assert run.returncode == 2
    assert run.stderr.startswith("eamlab: ") and run.stderr.count("\n") == 1


def test_float64_is_refused_until_it_is_changed(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float64"}', encoding="utf-8")
    code = (
        "import eamlab as el\n"
        "try:\n"
        "    el.load_pretrained\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "import keras\n"
        "keras.config.set_floatx('float32')\n"
        "el.load_pretrained('global')"
    )
    run = python(code, KERAS_HOME=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert "need Keras' floatx 'float32', got 'float64': call keras.config.set_floatx" in run.stdout


def test_every_module_takes_keras_and_bayesflow_from_the_backend():
    """Ruff keeps the order: see its isort sections in pyproject.toml."""
    foreign = re.compile(r"^\s*(?:import|from) (?:keras|bayesflow)\b", flags=re.M)
    typing_only = re.compile(r"^if TYPE_CHECKING:\n(?:    .*\n|\n)+", flags=re.M)
    for file in SRC.rglob("*.py"):
        source = typing_only.sub("", file.read_text(encoding="utf-8"))
        if foreign.search(source) and file.name != "backend.py":
            assert "\nfrom eamlab.backend import " in source, file
            assert not re.search(r"^\s*import (?:keras|bayesflow)\b", source, flags=re.M), file


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_the_readme_composes_beside_jax():
    code = (
        "import jax, numpy as np\n"
        "import eamlab as el\n"
        "data = el.simulate_studies(1, 12, 20, seed=1, scheme='exact')['sim_data']\n"
        "draws = el.compose(el.load_pretrained('global'), data, num_samples=50, seed=1)\n"
        "assert all(np.isfinite(x).all() for x in draws.values())"
    )
    run = python(code, KERAS_BACKEND=None)
    assert run.returncode == 0, run.stderr
