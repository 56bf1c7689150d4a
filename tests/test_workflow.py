"""The workflow itself: real Snakemake runs under a small config, in a copy of the project."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
PROJECT = ("Snakefile", "rules", "scripts", "redheart", "config", "profiles", "tests/configs")


class Project:
    """A copy of the project with one run in it, whose files may be edited."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "mine.yaml"
        for name in PROJECT:
            source = ROOT / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        shutil.copy(folder / "tests/configs/smoke.yaml", self.config)
        self.run = "smoke"

    def default_config(self):
        """Name no config, as a newcomer would."""
        self.config, self.run = None, "demo"

    def snakemake(self, *arguments, check=True):
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        named = ["--configfile", self.config.name] if self.config else []
        done = subprocess.run(
            # Targets first: some options take all words that follow.
            [SNAKEMAKE, *arguments, "--cores", "1", "--resources", "gpu=1", *named],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            pytest.fail(f"snakemake failed:\n{done.stdout}\n{done.stderr}")
        return done

    def computed(self, *arguments):
        """Run once and see that nothing is left to do; count what was computed, by step."""
        before = len(self.ledger())
        self.snakemake(*arguments)
        again = self.snakemake("--dry-run", *arguments)
        assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
        lines = self.ledger()[before:]
        return Counter(line["step"] for line in lines if line["outcome"] == "computed")

    def ledger(self):
        path = self.result("ledger.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def set(self, **sections):
        config = yaml.safe_load(self.config.read_text())
        for section, values in sections.items():
            if isinstance(values, dict):
                config.setdefault(section, {}).update(values)
            else:
                config[section] = values
        self.config.write_text(yaml.safe_dump(config))

    def edit(self, file, pattern, replacement):
        path = self.folder / file
        text, count = re.subn(pattern, replacement, path.read_text(), count=1)
        assert count == 1, f"{pattern} is not in {file}"
        path.write_text(text)

    def result(self, path):
        return self.folder / "results" / self.run / path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished run; every test works on a copy of it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.snakemake()
    return project


@pytest.fixture
def project(built, tmp_path):
    copy = Project.__new__(Project)
    copy.folder = tmp_path / "project"
    copy.config, copy.run = copy.folder / "mine.yaml", "smoke"
    shutil.copytree(built.folder, copy.folder, symlinks=True)
    return copy


# What comes after a change of any weight or choice: the candidates' numbers and all that show them.
END = ("compare_candidates", "make_report", "predict_candidates", "ship_model")
STITCHING = ("stitch_crossover", "stitch_variant")
TRAINING = (
    *("train_leg", "evaluate_checkpoint", "find_sweet_spots", "make_soups"),
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


def delete_results(project):
    shutil.rmtree(project.folder / "results")


def touch_input(project):
    project.result("data/records.jsonl").touch()


def library_comment(project):
    with open(project.folder / "redheart/losses.py", "a") as stream:
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
    project.edit("redheart/losses.py", r"\+ rdrop \*", "+ 0.5 * rdrop *")


def new_metric(project):
    project.edit("redheart/metrics.py", r"\Z", "\n\nROUNDING = 12\n")


def task_weight(project):
    config = yaml.safe_load(project.config.read_text())
    config["tasks"]["regret"]["weight"] = 2.0
    project.config.write_text(yaml.safe_dump(config))


def report_code(project):
    project.edit("redheart/report.py", r"\Z", "\n\nMARGIN = 3\n")


def reordered_config(project):
    config = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(dict(reversed(config.items())), sort_keys=False))


# The rebuild table: an edit, the steps that it computes, and those of them that it computes once
# where the plan has several. All others are restored or left alone.
REBUILDS = [
    (edit_nothing, (), ()),
    (delete_checkpoint, (), ()),
    (delete_manifest, (), ()),
    (delete_results, (), ()),
    (touch_input, (), ()),
    (library_comment, (), ()),
    (script_comment, (), ()),
    (reordered_config, (), ()),
    (there_and_back, (), ()),
    (report_code, ("make_report",), ()),
    (new_offset, ("stitch_variant", *END), ("stitch_variant",)),
    (sweet_spot_weight, ("find_sweet_spots", *STITCHING, *END), ()),
    # The folder that ships holds the config, so it is put together again.
    (losing_rate, (*CHOICE, "ship_model", "make_report"), ("sweep_rate", "join_sweep")),
    (longer_training, TRAINING, ("train_leg", "evaluate_checkpoint")),
    (loss_formula, (*CHOICE, *TRAINING), ()),
    (task_weight, (*CHOICE, *TRAINING), ()),
    (
        changed_split,
        ("split_records", "train_tokenizer", "encode_part", "fit_baseline", *CHOICE, *TRAINING),
        (),
    ),
    (
        new_metric,
        # The corpus says how well its labels could be predicted, by the same metrics.
        ("generate_corpus", "evaluate_checkpoint", "make_soups", "fit_baseline", *END),
        (),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "expected", "once"), REBUILDS, ids=[edit.__name__ for edit, *_ in REBUILDS]
)
def test_an_edit_computes_exactly(project, edit, expected, once):
    edit(project)
    computed = project.computed()
    assert sorted(computed) == sorted(expected)
    assert {step: computed[step] for step in once} == dict.fromkeys(once, 1)


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(built, tmp_path):
    again = Project(tmp_path)
    again.snakemake()
    clock = {"final_results.json", "ledger.jsonl"}
    for path in sorted(built.result(".").rglob("*")):
        place = path.relative_to(built.result("."))
        if (
            path.is_file()
            and place.name not in clock
            and place.parts[0] not in ("logs", "benchmarks")
        ):
            assert path.read_bytes() == again.result(place).read_bytes(), place


@pytest.mark.slow
def test_two_legs_are_one(built, tmp_path):
    """Checkpoints every 2 epochs or every 6: the weights, averages and evaluation are the same."""
    one = Project(tmp_path)
    one.set(train={"checkpoint_every": 6})
    one.snakemake("--until", "train_leg")
    ours, theirs = (
        [
            json.loads(p.result(f"seed_0/ckpt/{name}_006.json").read_text())
            for name in ("epoch", "metrics")
        ]
        for p in (built, one)
    )
    assert (built.result("seed_0/ckpt/epoch_006.pt")).read_bytes() == (
        one.result("seed_0/ckpt/epoch_006.pt")
    ).read_bytes()
    for name in ("weights", "ema", "state"):
        assert ours[0][name] == theirs[0][name]
    # What compares with the checkpoint before differs by nature.
    assert {**ours[1], "improvement": None} == {**theirs[1], "improvement": None}


@pytest.mark.slow
def test_a_lost_training_state_costs_time_and_changes_nothing(project):
    """The states are gone: a further leg replays from the beginning and fits the leg before."""
    shutil.rmtree(project.folder / ".redheart/store/states")
    project.set(train={"epochs": 8})
    assert project.computed()["train_leg"] == 1
    with_states = json.loads(project.result("seed_0/ckpt/epoch_008.json").read_text())
    before = json.loads(project.result("seed_0/ckpt/epoch_006.json").read_text())
    assert with_states["parent"] == before["key"]


@pytest.mark.slow
def test_several_seeds_and_other_tasks(tmp_path):
    """Another corpus, other tasks, two seeds, two repeats of the sweep: by config alone."""
    project = Project(tmp_path)
    rng = random.Random(0)
    words = {
        "work": ["office", "boss", "meeting", "desk"],
        "home": ["kitchen", "sofa", "garden", "cat"],
    }
    with open(tmp_path / "mine.jsonl", "w") as stream:
        for i in range(160):
            topic = rng.choice(["work", "home"])
            text = " ".join(
                rng.choice(words[topic] + ["the", "a", "was", "near"]) for _ in range(14)
            )
            tags = [tag for tag in ("urgent", "funny") if rng.random() < 0.4]
            record = {
                "text": f"{text} {i}",
                "topic": topic,
                "meta": {"stars": rng.random()},
                "tags": tags,
            }
            stream.write(json.dumps(record) + "\n")
    config = yaml.safe_load(project.config.read_text())
    config |= {
        "run": "mine",
        "data": {"source": "mine.jsonl"},
        "stratify_by": "topic",
        "seeds": [1, 2],
        "tasks": {
            "topic": {"kind": "multiclass", "field": "topic", "classes": ["work", "home"]},
            "tags": {"kind": "multilabel", "field": "tags", "classes": ["urgent", "funny"]},
            "stars": {"kind": "regression", "field": "meta.stars"},
        },
    }
    config["sweep"]["seeds"] = [0, 1]
    project.config.write_text(yaml.safe_dump(config))
    project.run = "mine"
    project.snakemake()
    results = json.loads(project.result("final_results.json").read_text())
    assert set(results["sweet_spots"]) == {"1", "2"}
    assert set(results["candidates"]["last"]["per_seed"]) == {"1", "2"}
    assert set(results["sweet_spots"]["1"]) == {"A", "B"}, "no distribution, no signal chain"
    assert set(results["candidates"]["last"]["test"]["tasks"]) == {"topic", "tags", "stars"}


BAD_CONFIG = """
run: bad
trian: {epochs: 3}
train: {epochs: ten}
tasks: {x: {kind: regresion, field: x}}
"""


@pytest.mark.slow
def test_a_wrong_config_stops_before_any_rule_and_tells_all(project):
    project.config.write_text(BAD_CONFIG)
    done = project.snakemake(check=False)
    assert done.returncode
    for line in (
        "trian: unknown key; did you mean 'train'?",
        "train.epochs: expected integer, got 'ten'",
        "tasks.x.kind: expected one of distribution, multiclass, multilabel, regression, got "
        "'regresion'; did you mean 'regression'?",
    ):
        assert f"mine.yaml: {line}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / "results/bad").exists()


BAD_CORPORA = {
    "line 2: broken JSON": '{"text": "one", "x": 1}\n{"text": "two\n',
    "field 'x': expected a finite number, got nan": '{"text": "one", "x": NaN}\n{"text": "b", "x": 1}\n',
    "no record has a label in 'x'": '{"text": "one"}\n{"text": "two"}\n',
    "the file is empty": "",
    "too few records": '{"text": "one", "x": 1}\n{"text": "two b", "x": 1}\n{"text": "c 3", "x": 0}\n',
}


@pytest.mark.slow
@pytest.mark.parametrize("message", BAD_CORPORA)
def test_a_bad_corpus_gets_one_line_and_leaves_nothing_half_written(tmp_path, message):
    project = Project(tmp_path)
    (tmp_path / "bad.jsonl").write_text(BAD_CORPORA[message])
    tasks = {"x": {"kind": "regression", "field": "x"}}
    project.config.write_text(
        yaml.safe_dump({"run": "bad", "data": {"source": "bad.jsonl"}, "tasks": tasks})
    )
    project.run = "bad"
    done = project.snakemake("--until", "split_records", check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in done.stderr
    assert not list(project.result("data").glob("split*"))
