"""The command line: what it lists, what it prints, and how it fails."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eamlab
import eamlab as el
from eamlab.__main__ import main
from eamlab.reading import read_trials
from eamlab.reference.posterior import ReferenceWarning

COMMANDS = ("info", "read", "compose", "exact", "train")


@pytest.fixture
def table(tmp_path):
    """A file of five subjects, in seconds, with one response missing."""
    data = el.simulate(el.EAM, 5, 20, seed=21).trials
    owner = np.repeat(np.arange(5), 20)
    frame = pd.DataFrame({"subject": owner, "response": data[..., 0].ravel().astype(int)})
    frame["rt"] = data[..., 1].ravel().round(3)
    frame.loc[3, "rt"] = np.nan
    frame.to_csv(tmp_path / "trials.csv", index=False)
    return tmp_path / "trials.csv"


def fails(capsys, *arguments):
    """One sentence on stderr, and exit code 2."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.startswith("eamlab: ") and printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    return printed.err


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"python -m eamlab {name}" in text for name in COMMANDS)
    assert all(f"\n    {name}" in text for name in COMMANDS)


def test_module_runs_without_starting_tensorflow(python):
    code = (
        "import sys, runpy; sys.argv = ['eamlab', 'info']\n"
        "try: runpy.run_module('eamlab', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'tensorflow', 'keras', 'bayesflow'} & set(sys.modules)"
    )
    assert python(code).stdout.startswith(f"eamlab {eamlab.__version__}, Python ")


def test_info_says_what_is_shipped_and_where(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("global", "local"):
        assert sum(line.strip().startswith(f"{name}: ") for line in lines) == 1
    (path,) = [line.split(": ", 1)[1] for line in lines if line.startswith("weights: ")]
    assert any(Path(path).iterdir())


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"eamlab {eamlab.__version__}"


def test_check_prints_what_was_read_and_what_was_not(capsys, table):
    assert main(["read", str(table)]) == 0
    text = capsys.readouterr().out
    assert "5 subjects, 99 trials" in text
    assert "no response time" in text


def test_options_reach_the_reader(capsys, table):
    frame = pd.read_csv(table)
    frame["key"] = np.where(frame.pop("response") == 1, "up", "down")
    frame["rt"] *= 1000
    frame.rename(columns={"rt": "time"}).to_csv(table, index=False)
    options = ["--unit", "ms", "--rt", "time", "--response", "key", "--coding", "down", "up"]
    assert main(["read", str(table), *options, "--rt-range", "0.3", "9", "--min-trials", "2"]) == 0
    kept = ((frame["rt"] >= 300) & (frame["rt"] <= 9000)).sum()
    assert f" {kept} trials" in capsys.readouterr().out


def test_a_column_named_twice_counts_once(capsys, table):
    assert main(["read", str(table), "--subject", "subject", "--subject", "subject"]) == 0
    assert "; subject, rt (s), response" in capsys.readouterr().out


def test_the_first_word_of_a_coding_is_the_lower_bound(capsys, tmp_path):
    frame = pd.DataFrame({"subject": 1, "rt": 0.5, "response": ["down", "up", "up", "up", "late"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    check = ["read", str(tmp_path / "x.csv"), "--no-response", "..."]
    for coding, share in ((("down", "up"), 0.75), (("up", "down"), 0.25)):
        assert main([*check, "--coding", *coding]) == 0
        text = capsys.readouterr().out
        table = [line.split() for line in text.splitlines()[-4:]]
        assert dict(zip(table[0], table[1][1:], strict=True))["upper"] == f"{share}"
        assert "1 subject, 4 trials (4 each)" in text


def test_exact_prints_and_writes_the_posterior(capsys, table, tmp_path):
    out = tmp_path / "out"
    assert main(["exact", str(table), "--samples", "200", "--seed", "4", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name} " in text for name in el.EAM.prior.names)
    expected = el.exact(read_trials(table), el.LABORATORY, 200, seed=4)
    written = pd.read_csv(out / "group_draws.csv")
    np.testing.assert_allclose(written[list(el.EAM.prior.names)], expected.array, rtol=1e-6)


def test_model_and_warnings_of_exact_are_those_of_the_library(capsys, table, monkeypatch):
    def exact(study, *, model, num_samples, seed):
        warnings.warn("exact: look.", ReferenceWarning, stacklevel=2)
        return el.Draws({model.name: np.zeros(num_samples)})

    monkeypatch.setattr(el, "exact", exact)
    for options, name in (([], "LABORATORY"), (["--model", "EAM"], "EAM")):
        assert main(["exact", str(table), *options]) == 0
        printed = capsys.readouterr()
        assert f"\n{name} " in printed.out and printed.err == "warning: exact: look.\n"


def test_conditions_reach_the_reader(capsys, table):
    frame = pd.read_csv(table)
    frame["cue"] = np.tile(["b", "a", "c", "a"], 25)
    frame.to_csv(table, index=False)
    assert main(["read", str(table), "--conditions", "cue", "b", "a"]) == 0
    text = capsys.readouterr().out
    assert "cue ('b' -1/2, 'a' +1/2)" in text and "25  other condition" in text
    assert "--conditions cue a b" in fails(capsys, "exact", table, "--conditions", "cue")


@pytest.mark.slow
def test_compose_prints_the_posterior_and_its_warnings(capsys, table):
    assert main(["compose", str(table), "--samples", "100"]) == 0
    usual = capsys.readouterr()
    assert all(f"\n{name} " in usual.out for name in el.EAM.prior.names)
    frame = pd.read_csv(table)
    frame["rt"] += 5.0
    frame.to_csv(table, index=False)
    assert main(["compose", str(table), "--samples", "100"]) == 0
    assert "warning: the data are unlike" in capsys.readouterr().err


@pytest.mark.slow
def test_compose_takes_a_folder_and_keeps_its_terms(capsys, table, tmp_path):
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    frame = pd.read_csv(table)
    for i in range(2):
        frame.assign(subject=frame["subject"] + 5 * i).to_csv(folder / f"{i}.csv", index=False)
    assert main(["compose", str(folder), "--samples", "50", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "10 people, 2 groups" in text and "0.csv: 1 trials left out: no response time" in text
    assert {p.name for p in out.iterdir()} == {"terms", "group_draws.csv", "group_summary.csv"}
    assert len(list((out / "terms").iterdir())) == 2
    assert "no file" in fails(capsys, "exact", folder)


# --- bad input -----------------------------------------------------------------------------------


def test_no_command(capsys):
    assert "COMMAND" in fails(capsys)


def test_unknown_command_and_option(capsys, table):
    assert "sing" in fails(capsys, "sing")
    assert "--louder" in fails(capsys, "read", table, "--louder")


def test_missing_file(capsys, tmp_path):
    assert "nothing.csv" in fails(capsys, "read", tmp_path / "nothing.csv")
    assert str(tmp_path) in fails(capsys, "exact", tmp_path)


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"\x00\xff\xfe\x80", b"subject,rt\n1,2,3,4\n"])
def test_files_that_are_no_tables(capsys, tmp_path, content):
    (tmp_path / "bad.csv").write_bytes(content)
    fails(capsys, "read", tmp_path / "bad.csv")


def test_messages_name_the_options(capsys, table):
    frame = pd.read_csv(table)
    frame["rt"] *= 1000
    frame.to_csv(table, index=False)
    assert "--unit" in fails(capsys, "read", table)


def test_options_out_of_range(capsys, table):
    assert "--samples" in fails(capsys, "exact", table, "--samples", 0)
    assert "--seed" in fails(capsys, "exact", table, "--seed", -1)
    assert "--min-trials" in fails(capsys, "read", table, "--min-trials", 0)
    assert "--rt-range 0.2 3.0" in fails(capsys, "read", table, "--rt-range", 200, 3000)
    assert "--coding" in fails(capsys, "read", table, "--no-response", "x")
    assert "twice" in fails(capsys, "read", table, "--coding", "x", "x")


@pytest.mark.slow
def test_unknown_weights_and_training(capsys, table, tmp_path):
    assert "Shipped are" in fails(capsys, "compose", table, "--weights", "other")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "sideways", "--out", str(tmp_path)])
    assert "sideways" in capsys.readouterr().err
