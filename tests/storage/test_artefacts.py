"""The record of a run: what its steps made, what became of it since, and how it is put right."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from redheart.errors import UserError
from redheart.storage import artefacts, files, run_files
from redheart.storage.artefacts import Artefacts, Made
from redheart.storage.hashes import Hashes
from redheart.storage.store import Action, Store

CONTENT = {"choice.json": "chosen", "seed_0/soup.pt": "weights"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def run(store, tmp_path):
    """A run of one action with two files, and a config that the store does not hold."""
    return made_run(store, tmp_path / "results" / "one")


def made_run(store, run):
    action = Action("step", {}, "code", {})
    outputs = {name.replace("/", "_"): run / name for name in CONTENT}

    def compute(folder):
        for name, content in CONTENT.items():
            (folder / name.replace("/", "_")).write_text(content)

    store.run(action, outputs, compute)
    hashes = store.outputs(action.key)
    made = {str(path): Made(hashes[name], action.key, name) for name, path in outputs.items()}
    config = run / run_files.CONFIG
    files.write_json(config, {"store": {"path": "store"}})
    Artefacts(run).add({**made, str(config): Made(files.sha256_file(config))}, store)
    return run


@pytest.fixture
def hashes(run, store):
    """The hashes of the run's files, as they are remembered at the end of a run."""
    remembered = Hashes(run / run_files.HASHES)
    assert Artefacts(run).changed(remembered) == []
    remembered.save()
    return remembered


def put_right(run, store, hashes):
    return [*Artefacts(run).put_right(store, Hashes(hashes.path))]


def edit(path):
    path.write_text("edited")


def edit_and_keep_time(path):
    status = path.stat()
    path.write_text("x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_for_another(path):
    other = path.with_name("other")
    other.write_text("another")
    other.replace(path)


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nothing")


@pytest.mark.parametrize("harm", [edit, edit_and_keep_time, swap_for_another, link_to_nothing])
@pytest.mark.parametrize("name", CONTENT)
def test_an_edited_file_is_restored_with_its_time(run, store, hashes, name, harm):
    path = run / name
    mtime_ns = path.stat().st_mtime_ns
    harm(path)
    assert put_right(run, store, hashes) == [
        f"{path}: is not as its step made it (edited or damaged); restored"
    ]
    assert (path.read_text(), path.stat().st_mtime_ns) == (CONTENT[name], mtime_ns)
    assert put_right(run, store, hashes) == []


def test_weights_and_the_hash_beside_them_belong_together(run, store, hashes):
    path = run / "seed_0" / "soup.pt"
    path.write_text("other weights")
    files.write_hash(path, files.sha256_file(path))
    assert len(put_right(run, store, hashes)) == 1
    files.check_hash(path)
    assert path.read_text() == "weights"
    files.hash_file(path).unlink()
    assert len(put_right(run, store, hashes)) == 1
    files.check_hash(path)


def test_what_the_store_does_not_hold_is_removed_for_its_step_to_make_it(run, store, hashes):
    edit(run / run_files.CONFIG)
    (line,) = put_right(run, store, hashes)
    assert line.endswith(
        "config.json: is not as its step made it (edited or damaged); removed, so "
        "that its step makes it again"
    )
    assert not (run / run_files.CONFIG).exists()


def test_an_edit_of_a_link_harms_the_store_too_and_ends_in_a_new_computation(tmp_path):
    store = Store(tmp_path / "store", link_from_bytes=1)
    run = made_run(store, tmp_path / "results" / "one")
    path = run / "choice.json"
    assert path.stat().st_nlink == 2
    hashes = Hashes(run / run_files.HASHES)
    Artefacts(run).changed(hashes)
    hashes.save()
    path.chmod(0o644)
    path.write_text("edited")
    (line,) = put_right(run, store, hashes)
    assert line.endswith("removed, so that its step makes it again")
    made_run(store, run)
    assert path.read_text() == "chosen"
    assert put_right(run, store, hashes) == []


def test_without_a_remembered_time_the_step_restores_the_file(run, store, hashes):
    """Snakemake would take a restored file for a new one, and its step for done."""
    hashes.path.unlink()
    edit(run / "choice.json")
    assert put_right(run, store, hashes)[0].endswith("removed, so that its step makes it again")


def test_a_time_stamp_alone_is_put_back(run, store, hashes):
    path = run / "choice.json"
    mtime_ns = path.stat().st_mtime_ns
    for changed in (0, mtime_ns + 10**9, 2 * 10**18):
        os.utime(path, ns=(changed, changed))
        assert put_right(run, store, hashes) == []
        assert path.stat().st_mtime_ns == mtime_ns


def test_no_file_has_a_time_in_the_future_even_if_it_was_made_then(run, store, hashes):
    path = run / "choice.json"
    os.utime(path, ns=(2 * 10**18, 2 * 10**18))
    hashes.of(path)
    hashes.save()
    put_right(run, store, hashes)
    assert path.stat().st_mtime_ns <= time.time_ns()


def test_a_job_checks_what_it_reads(run, store):
    """Within a run the times of new files are not known yet, and the order of the jobs is."""
    for name in CONTENT:
        edit(run / name)
    read = [run / "choice.json", run / "not_recorded.json"]
    (line,) = Artefacts(run).mend(store, Hashes(), read)
    assert line.endswith("restored")
    assert (run / "choice.json").read_text() == "chosen"
    assert (run / "seed_0" / "soup.pt").read_text() == "edited"


def test_a_folder_in_place_of_a_file_is_refused(run, store, hashes):
    (run / "choice.json").unlink()
    (run / "choice.json").mkdir()
    with pytest.raises(UserError, match=r"choice\.json: a folder where a step made a file; move"):
        put_right(run, store, hashes)
    lines = artefacts.verify(run)
    assert next(lines) == f"{run}/choice.json: is not as its step made it"
    with pytest.raises(UserError, match="1 of 3 files"):
        next(lines)


# --- where it was made --------------------------------------------------------------------------


def test_files_that_were_made_elsewhere_go_back_to_their_steps(run, store, tmp_path):
    """To Snakemake they have no parameters, so that a change of the config would go unseen."""
    here = Artefacts(run, tmp_path / "witnesses")
    assert here.strangers() == ["choice.json", "config.json", "seed_0/soup.pt"]
    here.add({str(run / name): here.made[name] for name in here.made}, store)
    assert (here.strangers(), here.dismiss_strangers(store)) == ([], "")

    # An older state of the run is put back, with its own record.
    (run / "choice.json").write_text("older")
    here.made["choice.json"] = here.made["choice.json"]._replace(sha256="1")
    assert here.dismiss_strangers(store).endswith("their steps take them from the store again")
    left = {path.name for path in run.rglob("*") if path.is_file()}
    assert left == {"artefacts.json", "config.json", "soup.pt", "soup.pt.sha256"}


@pytest.mark.parametrize("content", [None, "[]", '{"made": {}, "left_over": []}'])
def test_a_lost_record_comes_back_where_the_run_was_made(run, store, hashes, tmp_path, content):
    record, here = run / "artefacts.json", Artefacts(run, tmp_path / "witnesses")
    here.add({str(run / name): here.made[name] for name in here.made}, store)
    whole = record.read_bytes()
    record.write_text(content) if content is not None else record.unlink()
    (run / "choice.json").unlink()  # as after `redheart prune`
    Artefacts(run, tmp_path / "witnesses").recall(store)
    assert Artefacts(run).made.keys() == {"config.json", "seed_0/soup.pt"}
    (run / "choice.json").write_text("edited")
    Artefacts(run, tmp_path / "witnesses").recall(store)
    assert (Artefacts(run).lost(), record.read_bytes()) == ("", whole)
    assert Artefacts(run).changed(Hashes()) == ["choice.json"]


@pytest.mark.parametrize("content", ["[]", '{"made": 3}', '{"made": {"../x": ["1", "", ""]}}', "{"])
def test_a_damaged_witness_is_none(run, store, tmp_path, content):
    files.write_text(tmp_path / "witnesses" / "one.json", content)
    here = Artefacts(run, tmp_path / "witnesses")
    here.recall(store)
    assert here.strangers() == ["choice.json", "config.json", "seed_0/soup.pt"]


def test_files_that_no_step_can_take_from_the_store_are_left_and_told(run, store, tmp_path):
    here = Artefacts(run, tmp_path / "witnesses")
    shutil.rmtree(store.root)
    assert here.dismiss_strangers(store) == (
        f"{run}: not made here, or Snakemake forgot them: 3 files (choice.json, config.json, "
        "seed_0/soup.pt); the store lacks some of them, so they are left, and a change of config "
        f"or code since goes unseen; `rm -r {run}` makes all anew"
    )
    assert here.changed(Hashes()) == here.missing() == []


# --- the plan -----------------------------------------------------------------------------------


def test_what_is_no_longer_of_the_plan_is_named_and_pruned(run, store):
    for log in ("soup", "choice"):
        files.write_text(run / "logs" / f"{log}.log", "")
    files.write_text(run / "notes.txt", "mine")
    planned = [run / name for name in ("choice.json", "config.json", "logs/choice.log")]
    Artefacts(run).compare_with_plan(planned, store)
    assert Artefacts(run).no_longer_planned() == (
        f"{run}: no longer of the plan: 2 files (logs/soup.log, seed_0/soup.pt); "
        f"`redheart prune {run}` removes them"
    )
    removed = [str(run / name) for name in ("logs/soup.log", "seed_0/soup.pt")]
    assert [*artefacts.prune(run)] == removed
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert left == {"artefacts.json", "choice.json", "config.json", "logs/choice.log", "notes.txt"}
    assert (Artefacts(run).no_longer_planned(), [*artefacts.prune(run)]) == ("", [])


def test_what_left_the_plan_and_was_deleted_is_forgotten(run, store):
    (run / "seed_0" / "soup.pt").unlink()
    assert Artefacts(run).missing() == ["seed_0/soup.pt"]
    Artefacts(run).compare_with_plan([run / "choice.json", run / "config.json"], store)
    assert (Artefacts(run).missing(), Artefacts(run).left_over) == ([], [])


def test_what_is_made_again_is_of_the_plan_again(run, store):
    soup = run / "seed_0" / "soup.pt"
    Artefacts(run).compare_with_plan([run / "choice.json", run / "config.json"], store)
    record = Artefacts(run)
    assert record.left_over == ["seed_0/soup.pt"]
    record.add({str(soup): record.made["seed_0/soup.pt"]}, store)
    assert record.no_longer_planned() == Artefacts(run).no_longer_planned() == ""


def test_files_of_the_plan_without_a_record_are_told(run, store):
    """As after a lost record, of which later steps have made a part again."""
    (run / "artefacts.json").unlink()
    planned = [run / name for name in (*CONTENT, "config.json")]
    record = Artefacts(run)
    record.add({str(planned[0]): Made(files.sha256_file(planned[0]))}, store)
    record.compare_with_plan(planned, store)
    assert record.lost().startswith(
        f"{run}/artefacts.json: no record of 2 files (config.json, seed_0/soup.pt), so edits go "
    )


def test_the_plan_of_two_writers_holds_what_both_made(run, store):
    first, second = Artefacts(run), Artefacts(run)
    first.add({str(run / "a"): Made("1")}, store)
    second.add({str(run / "b"): Made("2")}, store)
    assert {"a", "b", *CONTENT} < Artefacts(run).made.keys()


# --- verify -------------------------------------------------------------------------------------


def test_verify_says_that_all_is_well(run):
    assert [*artefacts.verify(run)] == [f"{run}: 3 files, each as its step made it"]


def test_verify_names_what_is_wrong_and_what_it_cannot_vouch_for(run, store):
    edit_and_keep_time(run / "choice.json")
    (run / "seed_0" / "soup.pt").unlink()
    files.write_text(run / "notes.txt", "mine")
    lines = artefacts.verify(run)
    assert [next(lines) for _ in range(3)] == [
        f"{run}/choice.json: is not as its step made it",
        f"{run}/seed_0/soup.pt: is missing",
        f"{run}: no step has recorded 1 file (notes.txt)",
    ]
    with pytest.raises(UserError, match=r"2 of 3 files of .* are not as their steps made them"):
        next(lines)


@pytest.mark.parametrize(
    "content", [None, "", "[]", '{"made": 3}', '{"made": {"a": [1, 2, 3, 4]}}']
)
def test_a_record_that_is_lost_is_told_and_blocks_nothing(run, store, hashes, content):
    record = run / "artefacts.json"
    record.write_text(content) if content is not None else record.unlink()
    assert Artefacts(run).lost().startswith(f"{record}: no record of what the steps")
    assert put_right(run, store, hashes) == []
    with pytest.raises(UserError, match=r"`rm -r .*one` and the same command again take all"):
        next(artefacts.verify(run))
    Artefacts(run).add({str(run / "choice.json"): Made("1")}, store)
    assert [*Artefacts(run).made] == ["choice.json"]


@pytest.mark.parametrize(
    "damage",
    [
        {"made": {"../precious": ["1", "", ""]}, "left_over": []},
        {"made": {}, "left_over": ["../precious"]},
        {"made": {"choice.json": ["1", "../../..", ""]}, "left_over": []},
        {"made": {"choice.json": ["1", "", "../precious"]}, "left_over": []},
        {"made": {"choice.json": ["1", 5, ""]}, "left_over": []},
        {"made": {"choice.json": [None]}, "left_over": []},
    ],
)
def test_a_record_from_elsewhere_touches_nothing_outside_of_its_run(run, store, hashes, damage):
    precious = run.parent / "precious"
    precious.write_text("mine")
    files.write_json(run / "artefacts.json", damage)
    assert put_right(run, store, hashes) == []
    assert [*artefacts.prune(run)] == []
    assert precious.read_text() == "mine"


def test_verify_of_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no run; name a run's folder"):
        next(artefacts.verify(tmp_path))


def test_the_record_holds_no_clock(run, store, tmp_path):
    other = made_run(store, tmp_path / "results" / "two")
    assert (run / "artefacts.json").read_bytes() == (other / "artefacts.json").read_bytes()
    assert list(json.loads((run / "artefacts.json").read_text())) == ["made", "left_over"]


def test_prune_makes_no_store_where_there_is_none(run, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "results" / "one"
    shutil.copytree(run, elsewhere)
    with pytest.raises(UserError, match=r"store: no store there, .*`redheart prune results/one`"):
        next(artefacts.prune(elsewhere))
    assert not (tmp_path / "elsewhere" / "store").exists()


def test_a_run_has_one_lock_under_all_its_names(run, tmp_path):
    (tmp_path / "link").symlink_to(run.parent)
    assert artefacts.run_id(tmp_path / "link" / "one") == artefacts.run_id(run)


@pytest.mark.parametrize("content", ["[]", "{}", '{"store": {"path": 3}}', "no json"])
def test_prune_needs_the_config_to_find_the_store(run, content):
    (run / run_files.CONFIG).write_text(content)
    with pytest.raises(UserError, match=r"config\.json: "):
        next(artefacts.prune(run))
