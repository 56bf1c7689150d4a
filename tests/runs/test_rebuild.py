"""The rebuild table: the steps that an edit computes; all others are restored or left alone."""

import json
import re
import shutil

import edits
import pytest

from redheart.storage import artefacts
from redheart.storage.store import Store


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished run."""
    return finished.copy(tmp_path / "project")


# The steps after a change of any weight or choice: the candidates' numbers and their reports.
SCORING = ("predict_candidates", "choose_candidate", "predict_test", "compare_candidates")
# Another choice opens test anew.
END = (*SCORING, "fit_decisions", "open_test", "assess_model", "ship_model", "make_report")
STITCHING = ("stitch_crossover", "stitch_variant", "stitch_units")
SOUPS = ("make_soups", "search_units")
SUSPECTS = ("judge_records", "judge_test", "map_records", "find_suspects")
TRAINING = (
    *("train_leg", "evaluate_checkpoint", "find_sweet_spots", *SOUPS),
    *STITCHING,
    *SUSPECTS,
    *END,
)
RECORDS = ("read_records", "deduplicate_records", "split_records")
CHOICE = ("sweep_rate", "join_sweep", "choose_rate")


# The rebuild table: an edit, the steps that it computes, and those of them that it computes once
# where the plan has several. All others are restored or left alone.
REBUILDS = [
    (edits.edit_nothing, (), ()),
    (edits.delete_checkpoint, (), ()),
    (edits.delete_manifest, (), ()),
    (edits.delete_step_metrics, (), ()),
    (edits.delete_results, (), ()),
    (edits.touch_input, (), ()),
    (edits.library_comment, (), ()),
    (edits.script_comment, (), ()),
    (edits.unused_code, (), ()),
    (edits.script_formula, ("split_records",), ()),
    (edits.evaluating_half, ("evaluate_checkpoint",), ()),
    (edits.reordered_config, (), ()),
    (edits.stated_licence, ("ship_model",), ()),
    (edits.there_and_back, (), ()),
    (edits.report_code, ("make_report",), ()),
    (edits.new_offset, ("stitch_variant", *END), ("stitch_variant",)),
    (edits.sweet_spot_weight, ("find_sweet_spots", *STITCHING, *END), ()),
    # The folder that ships holds the config, so it is put together again.
    (edits.losing_rate, (*CHOICE, "ship_model", "make_report"), ("sweep_rate", "join_sweep")),
    (
        edits.longer_training,
        TRAINING,
        ("train_leg", "evaluate_checkpoint", "judge_records", "judge_test"),
    ),
    (edits.loss_formula, (*CHOICE, *TRAINING), ()),
    (
        edits.changed_split,
        (
            *("split_records", "train_tokenizer", "fit_lexicon", "fit_scales"),
            *("encode_part", "fit_baseline"),
            *(*CHOICE, *TRAINING),
        ),
        (),
    ),
    (
        edits.new_metric,
        # The corpus says how well its labels could be predicted, by the same metrics.
        (
            *("generate_corpus", "evaluate_checkpoint", *SOUPS, "fit_baseline"),
            # What predicts test takes the weights of the modules as they were chosen before.
            *("predict_candidates", "choose_candidate", "compare_candidates"),
            "assess_model",
            "make_report",
        ),
        (),
    ),
    # --- code and scripts
    (edits.script_formula_of_the_same_time, ("split_records",), ()),
    (edits.older_library, ("make_report",), ()),
    (edits.page_of_the_same_time, ("make_report",), ()),
    (edits.bridge_comment, (), ()),
    (edits.script_of_the_config, (), ()),
    (edits.code_there_and_back, (), ()),
    # --- artefacts: what was edited is restored, and nothing is built upon it
    *((edit, (), ()) for edit in edits.EDITED_ARTEFACTS),
    (edits.edited_where_the_store_forgot, ("find_sweet_spots",), ()),
    (edits.deleted_intermediate, (), ()),
    (edits.deleted_record, (), ()),
    (edits.forgotten_by_snakemake, ("make_report",), ()),
    (edits.older_state_put_back, (), ()),
    (edits.link_to_nothing, (), ()),
    (edits.fewer_offsets, END, ()),
    # --- sources
    (edits.replaced_by_older_source, RECORDS, ()),
    (edits.source_of_the_same_time_and_size, RECORDS, ()),
    (edits.edited_source_of_the_future, RECORDS, ()),
    (edits.touched_source, (), ()),
    (edits.source_of_the_future, (), ()),
    (edits.copied_source, (), ()),
    (edits.source_there_and_back, (), ()),
    (edits.older_kept_parts, ("split_records",), ()),
    (edits.kept_parts_of_the_future, (), ()),
    # --- corrections: what is mended is read again; a mended label of test trains nothing
    (edits.mended_label, RECORDS, ()),
    (edits.touched_corrections, (), ()),
    (edits.corrections_there_and_back, (), ()),
    (edits.more_careful_threshold, ("find_suspects", "ship_model", "make_report"), ()),
    (
        edits.mended_label_of_test,
        (
            *(*RECORDS, "encode_part", "predict_test", "fit_baseline"),
            *("compare_candidates", "assess_model", "judge_test", "map_records"),
            *("find_suspects", "ship_model", "make_report"),
        ),
        ("encode_part",),  # of test alone
    ),
    # --- clocks
    (edits.older_scripts, (), ()),
    (edits.scripts_of_the_future, (), ()),
    (edits.library_of_the_future, (), ()),
    (edits.artefacts_of_the_future, (), ()),
    (edits.artefacts_of_one_moment_long_ago, (), ()),
    (edits.artefacts_in_reverse_order, (), ()),
    (edits.future_and_more_to_do, ("make_report",), ()),
    (edits.artefact_in_another_copy, (), ()),
]


# One of each kind; make test-full tries them all.
EVERY_TIME = {
    *(edits.delete_checkpoint, edits.delete_results, edits.library_comment, edits.report_code),
    *(edits.script_formula, edits.evaluating_half, edits.replaced_by_older_source),
    *(edits.sweet_spot_weight, edits.changed_split, edits.new_metric),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "expected", "once"),
    [
        pytest.param(
            *case, id=case[0].__name__, marks=[pytest.mark.full] * (case[0] not in EVERY_TIME)
        )
        for case in REBUILDS
    ],
)
def test_an_edit_computes_exactly(project, edit, expected, once):
    targets = edit(project) or ()
    computed = project.computed(*targets)
    assert sorted(computed) == sorted(expected)
    assert {step: computed[step] for step in once} == dict.fromkeys(once, 1)


@pytest.mark.slow
@pytest.mark.full
def test_a_lost_training_state_costs_time_and_changes_nothing(project):
    """The states are deleted: a further leg replays from the start and fits the previous leg."""
    shutil.rmtree(project.folder / ".redheart/store/states")
    project.set(train={"epochs": 8})
    assert project.computed()["train_leg"] == 1
    with_states = json.loads(project.result("seed_0/ckpt/epoch_008.json").read_text())
    manifest = json.loads(project.result("seed_0/ckpt/epoch_006.json").read_text())
    assert with_states["parent"] == manifest["key"]


@pytest.mark.slow
def test_edited_artefacts_are_named_and_restored_after_waiting_for_another_run(project, finished):
    """Two runs at once: the second waits. Every kind of edit at once: nothing is built upon it."""
    edits.edited_artefacts(project)
    run = project.result(".").resolve()
    with Store(project.folder / ".redheart/store").locked(artefacts.run_id(run), "works here"):
        process = project.start()
        line = next(line for line in process.stderr if "Using workflow" not in line)
        assert re.fullmatch(WAITING, line)
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert not [
        line for line in project.ledger()[len(finished.ledger()) :] if line["outcome"] == "computed"
    ]
    for name in edits.EDITED_ARTEFACTS.values():
        (line,) = (
            line for line in told.splitlines() if line.startswith(f"results/smoke/{name}: is not")
        )
        made_again = name in ("final_results.json", "config.json")
        assert line.endswith("makes it again" if made_again else "(edited or damaged); restored")
        if name != "final_results.json":  # It holds the run's cost.
            assert project.result(name).read_bytes() == finished.result(name).read_bytes(), name
    assert [*artefacts.verify(run)] == [
        f"{run}: {len(artefacts.Artefacts(run).made)} files, each as its step made it"
    ]
    again = project.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
@pytest.mark.full
def test_what_left_the_plan_is_named_and_pruned(project):
    edits.fewer_offsets(project)
    done = project.snakemake()
    left_over = [
        *("logs/stitch_variant_seed_0_2.log", "seed_0/variants/offset_2.json"),
        "seed_0/variants/offset_2.pt",
    ]
    assert (
        f"results/smoke: no longer of the plan: 3 files ({', '.join(left_over)}); "
        "`redheart prune results/smoke` removes them\n" in done.stderr
    )
    run = project.result(".").resolve()
    assert [*artefacts.prune(run)] == [str(run / name) for name in left_over]
    assert not project.result("seed_0/variants/offset_2.pt.sha256").exists()
    again = project.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    assert len([*artefacts.verify(run)]) == 1


WAITING = r"waiting for process \d+ on \S+, which works on results/smoke\n"
