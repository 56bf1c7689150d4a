"""The command line: what a person types, and what the terminal then shows."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from redheart import __version__
from redheart.cli import before
from redheart.cli.main import main
from redheart.storage import files
from redheart.storage.artefacts import Artefacts, Made
from redheart.storage.ledger import Ledger
from redheart.storage.store import Action, Store
from redheart.workflow import config, steps

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "config" / "config.yaml")


def run(capsys, *arguments):
    """Exit code, standard output and standard error of one command."""
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


# --- check ------------------------------------------------------------------------------------


def test_check_prints_the_effective_config(capsys):
    code, output, errors = run(capsys, "check", DEMO)
    assert (code, errors) == (0, "")
    assert yaml.safe_load(output) == config.read([DEMO])


def test_check_reads_later_files_over_earlier_ones(capsys, tmp_path):
    above = tmp_path / "above.yaml"
    above.write_text("train: {epochs: 66}\n")
    _, output, _ = run(capsys, "check", DEMO, above)
    assert yaml.safe_load(output)["train"]["epochs"] == 66


def test_check_says_what_is_wrong_in_one_line_and_fails(capsys, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("run: x\ntasks: {regret: {kind: regression, field: r}}\ntrain: {epocs: 3}\n")
    assert run(capsys, "check", bad) == (
        1,
        "",
        f"error: {bad}: train.epocs: unknown key; did you mean 'epochs'?\n",
    )


@pytest.mark.parametrize(
    "words", ["check ~/absent.yaml", "parts ~/absent", "accept --all --store ~/absent"]
)
def test_the_home_folder_is_written_out_in_every_path(capsys, tmp_path, monkeypatch, words):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    _, output, errors = run(capsys, *words.split())
    assert str(tmp_path / "absent") in errors or "never computed anything" in output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as error:
        main(["chek"])
    assert error.value.code == 2
    assert (
        "'check', 'plan', 'import', 'run', 'predict', 'export', 'parts', 'ledger', 'tensorboard', "
        "'archive', 'restore', 'verify', 'prune', 'compare', 'accept'" in capsys.readouterr().err
    )


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--version"])
    assert (error.value.code, capsys.readouterr().out) == (0, f"{__version__}\n")


def test_it_is_a_command_of_its_own():
    done = subprocess.run(
        [Path(sys.executable).with_name("redheart"), "check", DEMO], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- import -----------------------------------------------------------------------------------


def test_import_writes_records_and_names_those_refused(capsys, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "new" / "out.jsonl"
    source.write_text("id,body,verdict\n1,a,OTHER\n2,,OTHER\n3,c,INFO\n")
    arguments = ("import", source, target, "--column", "text=body", "--column", "label=verdict")
    code, _, errors = run(capsys, *arguments)
    assert code == 1
    assert "1 of 3 records (33.33%) are invalid, more than 5.00% (line 3: no text" in errors
    assert not target.exists()
    source.write_text(
        "id,body,verdict\n1,a,OTHER\n2,,OTHER\n" + "".join(f"{i},c,INFO\n" for i in range(3, 41))
    )
    assert run(capsys, *arguments) == (
        0,
        f"{target}: 39 of 40 records\n",
        "refused: line 3: no text in the field 'text'\n",
    )
    records = [json.loads(line) for line in target.read_text().splitlines()]
    assert records[:2] == [
        {"id": "1", "text": "a", "label": "OTHER"},
        {"id": "3", "text": "c", "label": "INFO"},
    ]


def test_import_under_a_config_checks_labels_as_a_run_does(capsys, tmp_path):
    tasks = {"code": {"kind": "multiclass", "field": "code", "classes": ["1", "2"]}}
    data = {"max_rejected_share": 1, "columns": {"text": "body", "code": "class"}}
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"run": "x", "tasks": tasks, "data": data}))
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("said,class\n" + "a,1\nb,2\n" + "c,3\n" * 30)
    done = run(capsys, "import", source, target, "--config", config, "--column", "text=said")
    assert done[:2] == (0, f"{target}: 2 of 32 records\n")
    lines = done[2].splitlines()
    assert lines[0] == (
        "refused: line 4: field 'code': unknown class '3'; expected one of ['1', '2']"
    )
    assert (len(lines), lines[-1]) == (21, "refused: 10 more")
    assert json.loads(target.read_text().splitlines()[1])["code"] == "2"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.csv", "out.csv: JSON Lines are written; give it a name in .jsonl"),
        (
            "taken/out.jsonl",
            "taken/out.jsonl: cannot be written (File exists); choose another folder",
        ),
        ("folder.jsonl", "folder.jsonl: is a directory; name a file"),
    ],
)
def test_import_to_a_place_that_will_not_do(capsys, tmp_path, target, message):
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    done = run(capsys, "import", tmp_path / "in.jsonl", tmp_path / target)
    assert done == (1, "", f"error: {tmp_path}/{message}\n")


def test_import_never_writes_over_its_source(capsys, tmp_path, monkeypatch):
    """Not by another spelling, a symbolic link, a hard link or a link to its folder."""
    monkeypatch.chdir(tmp_path)
    source = Path("data/in.jsonl")
    source.parent.mkdir()
    source.write_text('{"text": "a"}\n' * 30 + "no record\n")
    Path("folder").symlink_to("data")
    Path("symbolic.jsonl").symlink_to(source)
    Path("hard.jsonl").hardlink_to(source)
    before = source.read_bytes()
    names = (str(source), "data/../data/in.jsonl", "folder/in.jsonl")
    for target in (*names, str(source.resolve()), "symbolic.jsonl", "hard.jsonl"):
        said = f"error: {Path(target)}: is the source itself, {source}, which would be lost; name "
        assert run(capsys, "import", source, target) == (1, "", f"{said}another file\n")
        assert run(capsys, "import", target, source)[0] == 1
    for target in ("data/new.jsonl", "folder/new.jsonl"):
        code, _, errors = run(capsys, "import", "data", target)
        assert (code, errors.partition("lies in the source, data")[1] != "") == (1, True)
    assert source.read_bytes() == before
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.jsonl"]


@pytest.mark.parametrize("column", ["text", "=body", "text="])
def test_a_column_needs_both_names(capsys, column):
    with pytest.raises(SystemExit):
        main(["import", "a", "b.jsonl", "--column", column])
    assert f"expected FIELD=COLUMN, as in text=body, got '{column}'" in capsys.readouterr().err


# --- the terminal -----------------------------------------------------------------------------


def command(*arguments, **streams):
    """Run the command in a process of its own; streams are those of `subprocess`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "redheart.cli.main", *arguments]
    return subprocess.run(line, env=environment, **streams)


@pytest.mark.parametrize("arguments", [["check", DEMO], ["accept", "no_step"]])
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        # The second command has an error to tell, in the same pipe.
        stderr = writer if "no_step" in arguments else subprocess.PIPE
        done = command(*arguments, stdout=writer, stderr=stderr)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr or b"") == (141, b"")


def test_an_output_that_takes_no_more_is_told():
    with open("/dev/full", "wb") as full:
        done = command("check", DEMO, stdout=full, stderr=subprocess.PIPE)
    expected = b"error: the output cannot be written (No space left on device); make room\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_a_closed_output_ends_no_command(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["check", DEMO]) == 0


def test_an_interrupt_ends_a_command_without_a_word(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(before, "_check", interrupt)
    assert run(capsys, "check", DEMO) == (130, "", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp949", "utf-8"])
def test_a_terminal_of_any_encoding_shows_a_config_that_reads_the_same(
    tmp_path, monkeypatch, encoding
):
    name, written = "기쁨 😀 é", tmp_path / "mine.yaml"
    tasks = {"mood": {"kind": "distribution", "field": name, "classes": [name, "b"]}}
    written.write_text(yaml.safe_dump({"run": "mine", "tasks": tasks}))
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding))
    assert main(["check", str(written)]) == 0
    shown = yaml.safe_load(sys.stdout.buffer.getvalue().decode(encoding))
    assert shown["tasks"]["mood"]["classes"] == [name, "b"]
    assert main(["check", f"{written}.{name}"]) == 1
    sys.stderr.flush()
    assert sys.stderr.buffer.getvalue().decode(encoding).startswith("error: ")


# --- ledger -----------------------------------------------------------------------------------


def test_ledger_tells_what_was_done_and_why(capsys, tmp_path):
    store, ledger = Store(tmp_path / "store"), Ledger(tmp_path / "run" / "ledger.jsonl")
    action = Action("split_records", {}, "c0de", {})
    for _ in range(2):
        outcome = store.run(
            action, {"train": tmp_path / "run" / "train.json"}, lambda f: (f / "train").touch()
        )
        ledger.add(outcome, "data/split/train.json", store)
    code, output, _ = run(capsys, "ledger", tmp_path / "run")
    assert code == 0
    first, second = output.splitlines()
    assert first.split()[0] == "computed"
    assert first.endswith(" s  split_records        data/split/train.json: first time in this run")
    assert second.split()[0] == "restored"
    assert second.endswith("data/split/train.json: nothing changed")


def test_ledger_tells_what_an_epoch_took(capsys, tmp_path):
    line = {"step": "train_leg", "target": "epoch_002.pt", "outcome": "computed", "why": "new"}
    old = {"epoch": 1, "seconds": 2.25, "peak_memory_bytes": 1_230_000_000}
    rows = [old, {**old, "epoch": 2, "tokens": 9000}]
    (tmp_path / "ledger.jsonl").write_text(json.dumps({**line, "seconds": 3.0, "epochs": rows}))
    _, plain, _ = run(capsys, "ledger", tmp_path)
    _, output, _ = run(capsys, "ledger", tmp_path, "--epochs")
    assert output.splitlines() == [
        *plain.splitlines(),
        f"{'2.2 s':>19}  epoch 1, 1.23 GB at most",
        f"{'2.2 s':>19}  epoch 2, 4,000 tokens/s, 1.23 GB at most",
    ]


def test_a_folder_without_a_ledger_is_refused(capsys, tmp_path):
    code, _, errors = run(capsys, "ledger", tmp_path)
    assert code == 1
    assert errors.endswith("no ledger there; name a run's folder, such as results/demo\n")


# --- tensorboard ------------------------------------------------------------------------------


def test_tensorboard_wants_a_run_that_has_trained(capsys, tmp_path):
    code, _, errors = run(capsys, "tensorboard", tmp_path)
    assert code == 1
    assert errors == (
        f"error: {tmp_path}: no metrics of training steps there; name a run's folder, such as "
        "results/demo, after its training\n"
    )


def test_tensorboard_says_what_to_install(capsys, tmp_path, monkeypatch):
    files.write_lines(tmp_path / "seed_0/ckpt/steps_002.jsonl", [])
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    assert run(capsys, "tensorboard", tmp_path) == (
        1,
        "",
        "error: event files take the package tensorboard; install it (`pip install tensorboard`)\n",
    )
    assert not (tmp_path / "tensorboard").exists()


# --- verify, prune, and how a run is named ------------------------------------------------------


@pytest.fixture
def finished_run(tmp_path, monkeypatch):
    """The record of a run `mine` with two files, in the working folder."""
    monkeypatch.chdir(tmp_path)
    store, mine = Store("store"), Path("results/mine")
    files.write_json(mine / "config.json", {"store": {"path": "store"}})
    files.write_text(mine / "old.json", "")
    paths = [mine / "config.json", mine / "old.json"]
    Artefacts(mine).add({str(path): Made(files.sha256_file(path)) for path in paths}, store)
    Artefacts(mine).compare_with_plan(["results/mine/config.json"], store)
    return mine


def test_verify_and_prune_take_a_run_by_its_name(capsys, finished_run):
    left_over = (
        f"{finished_run}: no longer of the plan: 1 file (old.json); "
        f"`redheart prune {finished_run}` removes them\n"
    )
    well = f"{finished_run}: 2 files, each as its step made it\n"
    assert run(capsys, "verify", "mine") == (0, left_over + well, "")
    assert run(capsys, "prune", "mine") == (0, f"{finished_run}/old.json: removed\n", "")
    (finished_run / "config.json").write_text("{}")
    code, output, errors = run(capsys, "verify", finished_run)
    assert (code, output) == (1, f"{finished_run}/config.json: is not as its step made it\n")
    assert errors.startswith(f"error: 1 of 1 files of {finished_run} are not as their steps made")


@pytest.mark.parametrize(
    "command", ["verify", "prune", "parts", "ledger", "tensorboard", "archive"]
)
def test_every_command_that_takes_a_run_knows_the_runs(capsys, finished_run, command):
    code, _, errors = run(capsys, command, "mien", *["packed"] * (command == "archive"))
    assert (code, errors) == (
        1,
        "error: mien: no such run; name a run's folder, such as results/demo, or the run; "
        "did you mean 'mine'?\n",
    )


# --- accept -----------------------------------------------------------------------------------


def test_accept_lets_new_code_count_as_the_old(capsys, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    action = Action("train_leg", {}, "an older fingerprint", {})
    store.run(action, {"weights": tmp_path / "a"}, lambda f: (f / "weights").touch())
    code, output, _ = run(
        capsys, "accept", "train_leg", "sweep_rate", "--why", "renamed", "--store", store.root
    )
    assert code == 0
    assert output.splitlines()[0].endswith("now counts as an older fin")
    assert output.splitlines()[1] == "sweep_rate: has never computed anything; nothing to accept"
    assert steps.codes(store)["train_leg"] == "an older fingerprint"


def test_accept_of_an_unknown_step_changes_nothing(capsys, tmp_path):
    code, _, errors = run(capsys, "accept", "train_legs", "--store", tmp_path / "store")
    assert (code, errors) == (
        1,
        "error: there is no step 'train_legs'; did you mean 'train_leg'?\n",
    )
    assert not (tmp_path / "store").exists()
