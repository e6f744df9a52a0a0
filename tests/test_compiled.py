"""numba's cache on disk: used where it can be, and never in the way."""

import errno
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import CacheImpl, IndexDataCacheFile

from eamlab import compiled

SRC = Path(__file__).parents[1] / "src"
SOURCE = """
from eamlab.compiled import njit, vectorize

@njit(cache=True, nogil=True)
def doubled(x):
    return 2.0 * x

@njit(cache=True)
def quadrupled(x):
    return doubled(doubled(x))

@vectorize("float64(float64)")
def tripled(x):
    return 3.0 * x
"""


def run(folder):
    """Import SOURCE anew, call its functions, and return it with the files of its cache."""
    file = folder / "functions.py"
    if not file.exists():
        file.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("functions", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.doubled(1.0), module.quadrupled(1.0)) == (2.0, 4.0)
    np.testing.assert_array_equal(module.tripled([1.0, 2.0]), [3.0, 6.0])
    return module, {path: path.stat().st_size for path in (folder / "__pycache__").glob("*.nb?")}


def test_what_was_compiled_is_read_from_the_cache(tmp_path):
    _, before = run(tmp_path)
    assert len(before) == 6
    module, after = run(tmp_path)
    assert after == before
    assert sum(module.quadrupled.stats.cache_hits.values()) == 1
    assert not module.quadrupled.stats.cache_misses


def test_a_change_in_a_file_beside_it_compiles_a_function_anew(tmp_path):
    run(tmp_path)
    (tmp_path / "helpers.py").write_text("", encoding="utf-8")
    compiled._stamps.cache_clear()
    module, _ = run(tmp_path)
    assert not module.quadrupled.stats.cache_hits
    assert sum(module.quadrupled.stats.cache_misses.values()) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_made_again(tmp_path, suffix, share):
    _, whole = run(tmp_path)
    for path, size in whole.items():
        if path.suffix == suffix:
            path.write_bytes(path.read_bytes()[: int(share * size)])
    assert run(tmp_path)[1] == whole
    module, _ = run(tmp_path)
    assert sum(module.quadrupled.stats.cache_hits.values()) == 1


def test_without_a_folder_that_can_be_written_one_warning_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    compiled._warn.cache_clear()
    with pytest.warns(UserWarning, match="set the environment variable NUMBA_CACHE_DIR") as caught:
        run(tmp_path)
    assert len(caught) == 1


def test_a_full_disk_is_no_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "broken").mkdir()
    _, whole = run(tmp_path / "broken")
    for path in whole:
        path.write_bytes(b"")
    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(tmp_path)[1] == {}
        assert set(run(tmp_path / "broken")[1].values()) == {0}


def test_all_of_the_package_is_cached_this_way():
    for file in SRC.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        if "(cache=True" in source:
            assert "from eamlab.compiled import njit" in source, file
