"""Whatever backend the machine prefers: TensorFlow runs, or one sentence says why it does not."""

import importlib.util
import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
NETWORKS = ("composition.posterior", "composition.summed", "networks", "training", "workflows")


def test_tensorflow_is_chosen_although_jax_is_installed_and_float64_refused_until_changed(
    python, tmp_path
):
    (tmp_path / "jax.py").write_text("raise ImportError('jax was chosen')", encoding="utf-8")
    (tmp_path / "keras.json").write_text('{"floatx": "float64"}', encoding="utf-8")
    run = python(
        "import os\n"
        "import eamlab as el\n"
        "try:\n"
        "    el.load_pretrained\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "import keras\n"
        "assert keras.backend.backend() == os.environ['KERAS_BACKEND'] == 'tensorflow'\n"
        "keras.config.set_floatx('float32')\n"
        "el.load_pretrained('global')",
        path=[tmp_path], KERAS_BACKEND=None, KERAS_HOME=str(tmp_path),
    )  # fmt: skip
    assert "backend selection failed" not in run.stderr
    assert "need Keras' floatx 'float32', got 'float64': call keras.config.set_floatx" in run.stdout


def test_an_empty_setting_is_none(python, tmp_path):
    """And the choice is made before Keras and BayesFlow are imported; these are stand-ins."""
    chosen = "import os\nassert os.environ['KERAS_BACKEND'] == 'tensorflow'\n"
    keras = f"{chosen}class config:\n    floatx = staticmethod(lambda: 'float32')\n"
    (tmp_path / "keras.py").write_text(keras, encoding="utf-8")
    (tmp_path / "bayesflow.py").write_text(chosen, encoding="utf-8")
    python("import eamlab.backend", path=[tmp_path], KERAS_BACKEND="")


def test_another_backend_is_refused_before_it_is_looked_for(python):
    code = (
        "import importlib, os\n"
        "for os.environ['KERAS_BACKEND'] in ('torch', 'jax'):\n"
        f"    for module in {NETWORKS}:\n"
        "        try: importlib.import_module(f'eamlab.{module}')\n"
        "        except ValueError as error: print(error)"
    )
    said = python(code).stdout.splitlines()
    names = [name for name in ("torch", "jax") for _ in NETWORKS]
    for line, name in zip(said, names, strict=True):
        assert line.startswith(f"eamlab's networks need Keras' backend 'tensorflow', got '{name}'")
        assert "os.environ['KERAS_BACKEND'] = 'tensorflow'" in line


def test_a_backend_that_keras_already_runs_on_is_refused(python):
    code = (
        "import sys, types\n"
        "keras = sys.modules['keras'] = types.ModuleType('keras')\n"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "import eamlab as el\n"
        "el.compose"
    )
    run = python(code, check=False)  # set too late
    assert "need Keras' backend 'tensorflow', got 'jax'" in run.stderr.splitlines()[-1]


def test_the_command_line_says_it_in_one_sentence(python):
    code = "import sys; from eamlab.__main__ import main; sys.exit(main(['train', 'global']))"
    run = python(code, check=False, KERAS_BACKEND="torch")
    assert run.returncode == 2
    assert run.stderr.startswith("eamlab: ") and run.stderr.count("\n") == 1


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
def test_the_readme_composes_beside_jax(python):
    code = (
        "import jax, numpy as np\n"
        "import eamlab as el\n"
        "study = el.simulate(el.EAM, 12, 20, seed=1)\n"
        "draws = el.compose(el.load_pretrained('global'), study, num_samples=50, seed=1)\n"
        "assert np.isfinite(draws.array).all()\n"
        "from eamlab_book.widgets.composition import Sampler, Settings\n"
        "draws, _ = Sampler(num_samples=20).draw(Settings('sum', 20, 5, 2, 0.5, 0.5, 20), seed=1)\n"
        "assert np.isfinite(draws.array).all()"
    )
    python(code, KERAS_BACKEND=None)
