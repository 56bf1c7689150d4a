"""The workflow itself: real Snakemake runs under a small config, in a copy of the project."""

import json
import random
import shutil

import pytest
import torch
import yaml
from project import Project

from redheart.crossover.candidates import OF_AVERAGES


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(finished, tmp_path):
    again = Project(tmp_path)
    again.snakemake()
    clock = {"final_results.json", "ledger.jsonl", "artefacts.json", "hashes.json"}
    for path in sorted(finished.result(".").rglob("*")):
        place = path.relative_to(finished.result("."))
        if (
            path.is_file()
            and place.name not in clock
            and place.parts[0] not in ("logs", "benchmarks")
        ):
            assert path.read_bytes() == again.result(place).read_bytes(), place


@pytest.mark.slow
def test_the_ledger_tells_what_every_epoch_took(finished):
    epochs = {"sweep_rate": set(), "train_leg": set()}
    for line in finished.ledger():
        for row in line.get("epochs", ()):
            epochs[line["step"]].add(row["epoch"])
            assert row["seconds"] > 0
            assert 0 < row["peak_memory_bytes"] <= line["peak_memory_bytes"]
    config = yaml.safe_load(finished.config.read_text())
    assert epochs == {
        "sweep_rate": set(range(1, config["sweep"]["epochs"] + 1)),
        "train_leg": set(range(1, config["train"]["epochs"] + 1)),
    }


@pytest.mark.slow
def test_a_table_is_read_by_its_columns_and_a_new_column_reads_it_again(tmp_path):
    project = Project(tmp_path)
    (tmp_path / "mine.csv").write_text("said,thought,x\none,two,0.5\nthree,four,1\n")
    tasks = {"x": {"kind": "regression", "field": "x"}}
    data = {"source": "mine.csv", "columns": {"text": "said"}}
    project.config.write_text(yaml.safe_dump({"run": "smoke", "data": data, "tasks": tasks}))
    for column, texts in (("said", ["one", "three"]), ("thought", ["two", "four"])):
        project.set(data={"columns": {"text": column}})
        assert project.computed("results/smoke/data/records.jsonl") == {"read_records": 1}
        lines = project.result("data/records.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == texts
    assert (
        json.loads(project.result("data/records_report.json").read_text())["source"] == "mine.csv"
    )


def untrained(finished, folder):
    """Return a copy of the finished run that has to train again; its data and its rate stand."""
    project = finished.copy(folder)
    shutil.rmtree(project.result("seed_0"))
    shutil.rmtree(project.folder / ".redheart/store/states")
    for entry in list((project.folder / ".redheart/store/entries").rglob("entry.json")):
        if json.loads(entry.read_text())["ingredients"]["step"] == "train_leg":
            shutil.rmtree(entry.parent)
    project.result("ledger.jsonl").unlink()
    return project


def trained_epochs(project):
    """Return the epochs of the legs that were computed, in the order of the ledger."""
    legs = [line for line in project.ledger() if line["step"] == "train_leg"]
    return [row["epoch"] for leg in legs for row in leg.get("epochs", ())]


@pytest.mark.slow
def test_two_legs_are_one(finished, tmp_path):
    """Checkpoints every 2 epochs or every 6: the weights, averages and evaluation are the same."""
    one_leg = untrained(finished, tmp_path / "project")
    one_leg.set(train={"checkpoint_every": 6})
    partly = one_leg.snakemake("--until", "train_leg")
    assert "ships (macro" not in partly.stderr  # of an earlier model
    assert trained_epochs(one_leg) == [1, 2, 3, 4, 5, 6]
    ours, theirs = (
        [
            json.loads(p.result(f"seed_0/ckpt/{name}_006.json").read_text())
            for name in ("epoch", "metrics")
        ]
        for p in (finished, one_leg)
    )
    assert (finished.result("seed_0/ckpt/epoch_006.pt")).read_bytes() == (
        one_leg.result("seed_0/ckpt/epoch_006.pt")
    ).read_bytes()
    for name in ("weights", "ema", "state"):
        assert ours[0][name] == theirs[0][name]
    steps = [
        finished.result(f"seed_0/ckpt/steps_00{epoch}.jsonl").read_bytes() for epoch in (2, 4, 6)
    ]
    assert b"".join(steps) == one_leg.result("seed_0/ckpt/steps_006.jsonl").read_bytes()
    # `improvement` compares with the previous checkpoint, which differs.
    assert {**ours[1], "improvement": None} == {**theirs[1], "improvement": None}


@pytest.mark.slow
def test_rounded_checkpoints_without_averages_train_the_same_and_ship(finished, tmp_path):
    """The training does not differ; candidates of averages are left out, and the report says so."""
    project = untrained(finished, tmp_path / "project")
    project.set(checkpoints={"dtype": "bf16", "ema": False})
    project.snakemake()
    assert trained_epochs(project) == [1, 2, 3, 4, 5, 6]
    for epoch in (2, 4, 6):
        steps = f"seed_0/ckpt/steps_00{epoch}.jsonl"
        assert project.result(steps).read_bytes() == finished.result(steps).read_bytes()
        path = project.result(f"seed_0/ckpt/epoch_00{epoch}.pt")
        assert (
            path.stat().st_size
            < 0.3 * finished.result(path.relative_to(project.result("."))).stat().st_size
        )
        saved = torch.load(path, weights_only=True)
        assert set(saved) == {"epoch", "weights"}
        assert {t.dtype for s in saved["weights"].values() for t in s.values()} == {torch.bfloat16}
    ours, theirs = (
        set(json.loads(p.result("final_results.json").read_text())["candidates"])
        for p in (project, finished)
    )
    assert ours == theirs - set(OF_AVERAGES)
    sentence = "no candidate is made of it. Left out: ema_last, ema, uniform_soup_ema"
    assert sentence in project.result("report.html").read_text()
    assert sentence not in finished.result("report.html").read_text()
    (member,) = torch.load(project.result("model/weights.pt"), weights_only=True)["members"]
    assert {t.dtype for s in member.values() for t in s.values()} == {torch.bfloat16}


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
    config["sweep"] |= {"seeds": [0, 1], "learning_rates": [1e-2]}
    config["train"]["epochs"] = 4
    config["crossover"]["offsets"] = [0]
    project.config.write_text(yaml.safe_dump(config))
    project.run = "mine"
    project.snakemake()
    results = json.loads(project.result("final_results.json").read_text())
    assert set(results["sweet_spots"]) == {"1", "2"}
    assert set(results["candidates"]["last"]["per_seed"]) == {"1", "2"}
    lexical = {f"lexical_{task}" for task in config["tasks"]}
    assert set(results["sweet_spots"]["1"]) == {"A", "B", *lexical}, "without a signal chain"
    assert set(results["candidates"]["last"]["test"]["tasks"]) == {"topic", "tags", "stars"}


@pytest.mark.slow
def test_shards_change_no_byte_and_a_new_policy_searches_nothing(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    assert not [line for line in project.ledger() if line["step"] == "find_duplicates"]
    project.set(dedup={"shards": 3})
    assert project.computed("split") == {"find_duplicates": 3, "deduplicate_records": 1}
    for name in ("data/deduped.json", "data/dedup_report.json"):
        assert project.result(name).read_bytes() == finished.result(name).read_bytes()
    report = json.loads(project.result("data/dedup_report.json").read_text())
    assert report["removed"] > 0
    project.set(dedup={"policy": "cluster"})
    assert project.computed("dedupe") == {"deduplicate_records": 1}


BAD_CONFIG = """
run: bad
trian: {epochs: 3}
train: {epochs: ten}
tasks: {x: {kind: regresion, field: x}}
"""


@pytest.mark.slow
def test_a_wrong_config_stops_before_any_rule_and_tells_all(tmp_path):
    project = Project(tmp_path)
    project.config.write_text(BAD_CONFIG)
    done = project.snakemake(check=False)
    assert done.returncode
    for line in (
        "trian: unknown key; did you mean 'train'?",
        "train.epochs: expected a whole number, got 'ten'",
        "tasks.x.kind: expected one of distribution, multiclass, multilabel, regression, got "
        "'regresion'; did you mean 'regression'?",
    ):
        assert f"mine.yaml: {line}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / "results/bad").exists()


# The first step refuses what it cannot read, the last one what it cannot split; all that the first
# refuses is in tests/data/test_reading.py.
BAD_CORPORA = {
    "line 2: broken JSON": '{"text": "one", "x": 1}\n{"text": "two\n',
    "too few records": '{"text": "one", "x": 1}\n{"text": "two b", "x": 1}\n{"text": "c 3", "x": 0}\n',
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message"),
    [("absent.jsonl", "the file is missing"), ("config", "is a directory; name a file, or a")],
)
def test_a_source_that_is_none_stops_before_any_rule(tmp_path, source, message):
    project = Project(tmp_path)
    project.set(data={"source": source})
    done = project.snakemake(check=False)
    assert f"error: data.source: {source}: {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / "results").exists()


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
