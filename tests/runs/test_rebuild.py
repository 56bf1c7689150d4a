"""The rebuild table: the steps that an edit computes; all others are restored or left alone."""

import json
import shutil

import pytest
import yaml


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished run."""
    return finished.copy(tmp_path / "project")


# The steps after a change of any weight or choice: the candidates' numbers and their reports.
SCORING = ("predict_candidates", "choose_candidate", "predict_test", "compare_candidates")
# Another choice opens test anew.
END = (*SCORING, "open_test", "ship_model", "make_report")
STITCHING = ("stitch_crossover", "stitch_variant", "stitch_units")
SOUPS = ("make_soups", "search_units")
TRAINING = (
    *("train_leg", "evaluate_checkpoint", "find_sweet_spots", *SOUPS),
    *STITCHING,
    *END,
)
CHOICE = ("sweep_rate", "join_sweep", "choose_rate")


def edit_nothing(project):
    pass


def delete_checkpoint(project):
    project.result("seed_0/ckpt/epoch_004.pt").unlink()


def delete_manifest(project):
    project.result("seed_0/ckpt/epoch_002.json").unlink()


def delete_step_metrics(project):
    project.result("seed_0/ckpt/steps_002.jsonl").unlink()


def delete_results(project):
    shutil.rmtree(project.folder / "results")


def touch_input(project):
    project.result("data/records.jsonl").touch()


def library_comment(project):
    with open(project.folder / "redheart/tasks/losses.py", "a") as stream:
        stream.write("\n\n# A remark.\n")


def script_comment(project):
    with open(project.folder / "scripts/train_leg.py", "a") as stream:
        stream.write("\n# A remark.\n")


def there_and_back(project):
    project.set(train={"label_smoothing": 0.2})
    project.snakemake("train")
    project.set(train={"label_smoothing": 0.05})


def new_offset(project):
    project.set(crossover={"offsets": [-2, 0, 2, -4]})


def sweet_spot_weight(project):
    project.set(sweet_spots={"gap_weight": 50.0, "smoothing": 1})


def losing_rate(project):
    project.set(sweep={"learning_rates": [1e-3, 1e-2, 1e6]})


def longer_training(project):
    project.set(train={"epochs": 8})


def changed_split(project):
    project.set(split={"seed": 1})


def loss_formula(project):
    project.edit("redheart/tasks/losses.py", r"\+ rdrop \*", "+ 0.5 * rdrop *")


def new_metric(project):
    project.edit("redheart/tasks/metrics.py", r"CONSTANT = 1e-12", "CONSTANT = 2e-12")


def unused_code(project):
    project.edit("redheart/tasks/losses.py", r"\Z", "\n\nUNUSED = 3\n")


def script_formula(project):
    project.edit("scripts/split_records.py", "for i in members", "for i in sorted(members)")


def evaluating_half(project):
    project.edit(
        "scripts/train_leg.py", r"files.write_json\(folder", "files.write_json(0 or folder"
    )


def report_code(project):
    project.edit("redheart/report/page.py", "mean over tasks, 0 to 1", "mean over tasks (0 to 1)")


def reordered_config(project):
    config = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(dict(reversed(config.items())), sort_keys=False))


# The rebuild table: an edit, the steps that it computes, and those of them that it computes once
# where the plan has several. All others are restored or left alone.
REBUILDS = [
    (edit_nothing, (), ()),
    (delete_checkpoint, (), ()),
    (delete_manifest, (), ()),
    (delete_step_metrics, (), ()),
    (delete_results, (), ()),
    (touch_input, (), ()),
    (library_comment, (), ()),
    (script_comment, (), ()),
    (unused_code, (), ()),
    (script_formula, ("split_records",), ()),
    (evaluating_half, ("evaluate_checkpoint",), ()),
    (reordered_config, (), ()),
    (there_and_back, (), ()),
    (report_code, ("make_report",), ()),
    (new_offset, ("stitch_variant", *END), ("stitch_variant",)),
    (sweet_spot_weight, ("find_sweet_spots", *STITCHING, *END), ()),
    # The folder that ships holds the config, so it is put together again.
    (losing_rate, (*CHOICE, "ship_model", "make_report"), ("sweep_rate", "join_sweep")),
    (longer_training, TRAINING, ("train_leg", "evaluate_checkpoint")),
    (loss_formula, (*CHOICE, *TRAINING), ()),
    (
        changed_split,
        (
            *("split_records", "train_tokenizer", "fit_lexicon", "encode_part", "fit_baseline"),
            *(*CHOICE, *TRAINING),
        ),
        (),
    ),
    (
        new_metric,
        # The corpus says how well its labels could be predicted, by the same metrics.
        (
            *("generate_corpus", "evaluate_checkpoint", *SOUPS, "fit_baseline"),
            # What predicts test takes the weights of the modules as they were chosen before.
            *("predict_candidates", "choose_candidate", "compare_candidates"),
            "make_report",
        ),
        (),
    ),
]


# One of each kind; make test-full tries them all.
EVERY_TIME = {
    *(delete_checkpoint, delete_results, library_comment, report_code),
    *(script_formula, evaluating_half),
    *(sweet_spot_weight, changed_split, new_metric),
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
    edit(project)
    computed = project.computed()
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
