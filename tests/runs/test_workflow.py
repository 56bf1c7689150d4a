"""The workflow itself: real Snakemake runs under a small config, in a copy of the project."""

import json
import random

import pytest
import torch
import yaml
from project import Project

from redheart.crossover.candidate_table import OF_AVERAGES


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished run."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.snakemake()
    return project


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
def test_the_ledger_tells_what_every_epoch_took(built):
    epochs = {"sweep_rate": set(), "train_leg": set()}
    for line in built.ledger():
        for row in line.get("epochs", ()):
            epochs[line["step"]].add(row["epoch"])
            assert row["seconds"] > 0
            assert 0 < row["peak_memory_bytes"] <= line["peak_memory_bytes"]
    config = yaml.safe_load(built.config.read_text())
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


@pytest.mark.slow
def test_two_legs_are_one(built, tmp_path):
    """Checkpoints every 2 epochs or every 6: the weights, averages and evaluation are the same."""
    one_leg = Project(tmp_path)
    one_leg.set(train={"checkpoint_every": 6})
    one_leg.snakemake("--until", "train_leg")
    ours, theirs = (
        [
            json.loads(p.result(f"seed_0/ckpt/{name}_006.json").read_text())
            for name in ("epoch", "metrics")
        ]
        for p in (built, one_leg)
    )
    assert (built.result("seed_0/ckpt/epoch_006.pt")).read_bytes() == (
        one_leg.result("seed_0/ckpt/epoch_006.pt")
    ).read_bytes()
    for name in ("weights", "ema", "state"):
        assert ours[0][name] == theirs[0][name]
    steps = [built.result(f"seed_0/ckpt/steps_00{epoch}.jsonl").read_bytes() for epoch in (2, 4, 6)]
    assert b"".join(steps) == one_leg.result("seed_0/ckpt/steps_006.jsonl").read_bytes()
    # `improvement` compares with the previous checkpoint, which differs.
    assert {**ours[1], "improvement": None} == {**theirs[1], "improvement": None}


@pytest.mark.slow
def test_rounded_checkpoints_without_averages_train_the_same_and_ship(built, tmp_path):
    """The training does not differ; candidates of averages are left out, and the report says so."""
    project = Project(tmp_path)
    project.set(checkpoints={"dtype": "bf16", "ema": False})
    project.snakemake()
    for epoch in (2, 4, 6):
        steps = f"seed_0/ckpt/steps_00{epoch}.jsonl"
        assert project.result(steps).read_bytes() == built.result(steps).read_bytes()
        path = project.result(f"seed_0/ckpt/epoch_00{epoch}.pt")
        assert (
            path.stat().st_size
            < 0.3 * built.result(path.relative_to(project.result("."))).stat().st_size
        )
        saved = torch.load(path, weights_only=True)
        assert set(saved) == {"epoch", "weights"}
        assert {t.dtype for s in saved["weights"].values() for t in s.values()} == {torch.bfloat16}
    ours, theirs = (
        set(json.loads(p.result("final_results.json").read_text())["candidates"])
        for p in (project, built)
    )
    assert ours == theirs - set(OF_AVERAGES)
    sentence = "no candidate is made of it. Left out: ema_last, ema, uniform_soup_ema"
    assert sentence in project.result("report.html").read_text()
    assert sentence not in built.result("report.html").read_text()
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
    config["sweep"]["seeds"] = [0, 1]
    config["train"]["epochs"] = 4
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
def test_shards_change_no_byte_and_a_new_policy_searches_nothing(tmp_path):
    project = Project(tmp_path)
    answers = []
    for shards in (1, 3):
        project.set(dedup={"shards": shards})
        computed = project.computed("split")
        assert computed["find_duplicates"] == (0 if shards == 1 else shards)
        assert computed["deduplicate_records"] == 1
        assert computed["split_records"] == (1 if shards == 1 else 0)
        names = ("data/deduped.json", "data/dedup_report.json")
        answers.append([project.result(name).read_bytes() for name in names])
    assert answers[0] == answers[1]
    assert json.loads(answers[0][1])["removed"] > 0
    project.set(dedup={"policy": "cluster"})
    computed = project.computed("dedupe")
    assert computed == {"deduplicate_records": 1}


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
    "is UTF-16": "\0{\0}",
    "begins with a JSON object over several lines": '{\n "records": []\n}\n',
    "item 2: field 'x': expected a number, got '1'": '[{"text": "a", "x": 1}, {"text": "b", "x": "1"}]',
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
