"""`redheart run`: the command of Snakemake that it starts, and what it refuses before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.cli.main import main
from redheart.cli.start import snakemake_command

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "words, command",
    [
        ("", "--cores 1"),
        ("sweep", "sweep --cores 1"),
        ("a.yaml b.yml", "--configfile a.yaml b.yml --cores 1"),
        ("a.yaml sweep -n", "sweep --configfile a.yaml --cores 1 -n"),
        ("results/a/choice.json", "results/a/choice.json --cores 1"),
        ("a.yaml -c2", "--configfile a.yaml -c2"),
        ("a.yaml --cores=2 -n", "--configfile a.yaml --cores=2 -n"),
        ("a.yaml --jobs 2", "--configfile a.yaml --jobs 2"),
        ("--configfile a.yaml --until sweep", "--cores 1 --configfile a.yaml --until sweep"),
    ],
)
def test_the_words_become_snakemakes(tmp_path, monkeypatch, words, command):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text("run: a\n")
    assert snakemake_command(words.split()) == ["snakemake", *command.split()]


@pytest.mark.parametrize("place", ["{}", "--configfile {}", "sweep --cores 1 --configfile {}"])
@pytest.mark.parametrize("content", ["classes: [한국어]".encode("cp949"), bytes(range(128, 256))])
def test_a_config_that_is_not_utf8_is_told_in_a_line(tmp_path, capsys, place, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"run: a\n" + content)
    assert main(["run", *place.format(path).split()]) == 1
    assert capsys.readouterr().err == (
        f"error: {path}: line 2 is no UTF-8; save the file as UTF-8\n"
    )


def test_without_the_workflow_it_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 1
    assert "no Snakefile here" in capsys.readouterr().err


def test_help_is_our_own(capsys):
    with pytest.raises(SystemExit) as error:
        main(["run", "--help"])
    assert error.value.code == 0
    assert "example: redheart run mine.yaml sweep --cores 2" in capsys.readouterr().out


@pytest.mark.slow
def test_it_starts_snakemake_and_passes_its_exit_code_on(tmp_path):
    for name in ("Snakefile", "rules", "scripts", "config", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = tmp_path / "mine.yaml"
    config.write_text("run: mine\ntasks: {a: {kind: multiclass, field: a, classes: [x, y]}}\n")
    redheart = Path(sys.executable).with_name("redheart")

    def run(*words):
        command = [redheart, "run", "mine.yaml", *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    done = run("results/mine/config.json")
    assert done.returncode == 0, done.stderr
    assert (
        "running: snakemake results/mine/config.json --configfile mine.yaml --cores 1"
        in done.stderr
    )
    assert (tmp_path / "results" / "mine" / "config.json").is_file()
    assert run("results/mine/nothing").returncode == 1


def test_a_config_without_its_ending_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("run: mine\n")
    assert main(["run", "mine"]) == 1
    assert capsys.readouterr().err == (
        "error: mine: is no target; for the config, write mine.yaml\n"
    )
