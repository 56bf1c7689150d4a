"""The config: its defaults agree wherever they stand, and every mistake is named at once."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
import yaml

from redheart.errors import UserError
from redheart.storage import files
from redheart.tasks.task import Task
from redheart.workflow import config, sections

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*(ROOT / "config").glob("*.yaml"), *(ROOT / "tests" / "configs").glob("*.yaml")])
REGRET = {"regret": {"kind": "regression", "field": "regret_factor"}}

# The keys that the demo sets to other values than the defaults, since it is tiny.
DEMO_ALONE = {
    "stratify_by",
    "tokenizer.vocab_size",
    "sweep.learning_rates",
    "train.batch_size",
    "train.grad_accumulation",
    "train.max_tokens",
}


def flat(nested, path=""):
    """Dotted path -> value, for every key except those of tasks."""
    values = {}
    for key, value in nested.items():
        if key == "tasks":
            continue
        if isinstance(value, dict):
            values |= flat(value, f"{path}{key}.")
        else:
            values[path + key] = value
    return values


def schema_defaults(schema):
    return {
        key: schema_defaults(part) if part.get("type") == "object" else part["default"]
        for key, part in schema["properties"].items()
        if key not in ("run", "tasks")
    }


def write(folder, content, name="mine.yaml"):
    """Write a config; one that is given as a mapping gets a run's name."""
    path = folder / name
    content = {"run": "mine", **content} if isinstance(content, dict) else content
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def problems(*paths) -> list[str]:
    """The lines of the error, without the folder of the files."""
    with pytest.raises(UserError) as error:
        config.read(paths)
    return [re.sub(r"^\S*/", "", line) for line in str(error.value).splitlines()]


# --- the defaults -----------------------------------------------------------------------------


def test_schema_and_dataclasses_have_the_same_defaults():
    assert flat(schema_defaults(files.read_json(config.SCHEMA))) == flat(sections.defaults())


def test_the_demos_file_shows_every_key_and_no_other():
    written = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert set(flat(written)) == {"run", *flat(sections.defaults())}


def test_the_demo_departs_from_the_defaults_only_where_it_must_be_tiny():
    demo = flat(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()))
    default = flat(sections.defaults())
    assert {key for key in demo if demo[key] != default.get(key)} == {"run", *DEMO_ALONE}


def test_a_tasks_options_have_the_same_defaults_too():
    schema = files.read_json(config.SCHEMA)["properties"]["tasks"]["additionalProperties"]
    stated = {
        name: part["default"] for name, part in schema["properties"].items() if "default" in part
    }
    actual = {
        field.name: list(field.default) if field.default == () else field.default
        for field in dataclasses.fields(Task)
        if field.default is not dataclasses.MISSING
    }
    assert stated == actual
    assert set(schema["required"]) == {f.name for f in dataclasses.fields(Task)} - {*actual, "name"}


def test_no_two_dataclasses_of_a_section_share_a_key():
    for section, (_, kinds) in sections.SECTIONS.items():
        names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
        assert len(names) == len(set(names)), section


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path):
    # A config that is laid over another one has a command at its head that says so.
    command = re.search(r"--configfile (.+)", path.read_text())
    files_of_it = [ROOT / name for name in command[1].split()] if command else [path]
    assert files_of_it[-1] == path
    assert config.read(files_of_it)["tasks"]


def test_defaults_fill_what_is_not_given(tmp_path):
    settings = config.read([write(tmp_path, {"tasks": REGRET, "train": {"epochs": 7}})])
    expected = flat(sections.defaults()) | {
        "run": "mine",
        "train.epochs": 7,
        "train.schedule_epochs": 7,
    }
    # A value that follows from other keys is written out where its key is absent.
    expected["model.signal"] = False
    assert flat(settings) == expected
    assert settings["tasks"] == REGRET


def test_the_signal_chain_serves_a_task_by_name_whatever_the_order_of_the_tasks(tmp_path):
    mood = {"kind": "distribution", "field": "m", "classes": ["x", "y"]}
    tasks = "run: mine\ntasks: {zeal: &mood {kind: distribution, field: m, classes: [x, y]}, anger: *mood}"
    settings = config.read([write(tmp_path, tasks)])
    assert settings["model"]["signal"] == "zeal"
    assert settings["tasks"] == {"zeal": mood, "anger": mood}


def test_nothing_of_the_demo_reaches_a_config_of_ones_own(tmp_path):
    settings = config.read([write(tmp_path, {"tasks": REGRET})])
    assert list(settings["tasks"]) == ["regret"]
    assert settings["train"]["batch_size"] == 4
    assert settings["stratify_by"] is None


def test_reading_a_config_changes_no_default(tmp_path):
    before = sections.defaults()
    config.read([write(tmp_path, {"tasks": REGRET, "train": {"batch_size": 9}, "seeds": [3]})])
    assert sections.defaults() == before


# --- several files ----------------------------------------------------------------------------


def test_later_files_lie_over_earlier_ones_key_by_key(tmp_path):
    base = write(tmp_path, {"tasks": REGRET, "train": {"epochs": 9, "rdrop": 0.5}, "seeds": [0, 1]})
    above = write(tmp_path, {"train": {"epochs": 7}, "seeds": [2]}, "above.yaml")
    settings = config.read([base, above])
    assert (settings["train"]["epochs"], settings["train"]["rdrop"]) == (7, 0.5)
    assert settings["seeds"] == [2]
    assert settings["tasks"] == REGRET


def test_a_problem_is_blamed_on_the_file_whose_value_counts(tmp_path):
    base = write(tmp_path, {"tasks": REGRET, "train": {"epochs": 0, "rdrop": -1}}, "base.yaml")
    above = write(tmp_path, {"train": {"epochs": -1}}, "above.yaml")
    assert problems(base, above) == [
        "above.yaml: train.epochs: expected 1 or more, got -1",
        "base.yaml: train.rdrop: expected 0 or more, got -1",
    ]


# --- numbers ----------------------------------------------------------------------------------


def test_numbers_that_yaml_takes_for_text_are_read_as_numbers(tmp_path):
    text = """
        run: mine
        tasks: {regret: {kind: regression, field: 1e-5, weight: 5e-1}}
        sweep: {learning_rates: [1e-5, 3E-4, 1.5e+0, 0.1]}
        train: {weight_decay: 1e-2, epochs: 2e1, batch_size: 8.0}
        model: {dropout: 1e-1}
    """
    settings = config.read([write(tmp_path, text)])
    assert settings["sweep"]["learning_rates"] == [1e-5, 3e-4, 1.5, 0.1]
    assert settings["train"]["weight_decay"] == 0.01
    assert settings["model"]["dropout"] == 0.1
    assert settings["tasks"]["regret"]["weight"] == 0.5
    # Where a text is expected, it stays a text; a whole number becomes an integer.
    assert settings["tasks"]["regret"]["field"] == "1e-5"
    for value, expected in (
        (settings["train"]["epochs"], 20),
        (settings["train"]["batch_size"], 8),
    ):
        assert value == expected
        assert isinstance(value, int)


@pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "ten"])
def test_other_text_is_no_number(tmp_path, text):
    path = write(tmp_path, {"tasks": REGRET, "train": {"weight_decay": text}})
    assert problems(path) == [f"mine.yaml: train.weight_decay: expected a number, got '{text}'"]


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("[yes, no]", "YAML reads yes, no, on, off, true and false as truth values: write them in quotes, as in 'yes'"),
        ("[0, 1, 2]", "YAML reads 0 as a number: write it in quotes, '0'"),
        ("[low, 2020-01-01]", "YAML reads 2020-01-01 as a date: write it in quotes, '2020-01-01'"),
    ],
)  # fmt: skip
def test_classes_that_yaml_takes_for_no_text_are_told_once(tmp_path, classes, told):
    task = f"{{kind: multiclass, field: y, classes: {classes}}}"
    path = write(tmp_path, f"run: mine\ntasks: {{x: {task}}}")
    assert problems(path) == [f"mine.yaml: tasks.x.classes: expected a text; {told}"]


# --- mistakes ---------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once_with_file_key_and_nearest_key(tmp_path):
    text = """
        run: my run
        tasks:
          emotion: {kind: distrbution, field: emotions}
          regret: {}
          9lives: {kind: regression, field: lives}
        trian: {epochs: 3}
        train: {epochs: many, lable_smoothing: 0.1, batch_size: 0, epochs_between: 2}
        sweep: {learning_rates: [1e-5, 1e-5, 0]}
        dedup: null
        model: {dropout: 1}
        seeds: []
        zzz: 1
    """
    lines = problems(write(tmp_path, text))
    unknown = [
        line for line in lines if "mine.yaml: zzz: unknown key; valid: checkpoints, " in line
    ]
    assert sorted(set(lines) - set(unknown)) == [
        "mine.yaml: dedup: expected keys with values, got null",
        "mine.yaml: model.dropout: expected less than 1, got 1",
        "mine.yaml: run: expected at most 100 letters, digits, - and _, got 'my run'",
        "mine.yaml: seeds: expected at least 1 item(s), got []",
        "mine.yaml: sweep.learning_rates.2: expected more than 0, got 0",
        "mine.yaml: sweep.learning_rates: expected no value twice, got 1e-05 twice",
        "mine.yaml: tasks.emotion.kind: expected one of distribution, multiclass, multilabel,"
        " regression, got 'distrbution'; did you mean 'distribution'?",
        "mine.yaml: tasks.regret.field: this key is required (Where the label stands in a record;"
        " dots reach into objects (`metadata.label`))",
        "mine.yaml: tasks.regret.kind: this key is required (What the label is. `distribution`: shares"
        " of classes; `multiclass`: one class; `multilabel`: any number of classes; `regression`: one"
        " number or several)",
        "mine.yaml: tasks: expected letters, digits and _, a letter first, got '9lives'",
        "mine.yaml: train.batch_size: expected 1 or more, got 0",
        "mine.yaml: train.epochs: expected a whole number, got 'many'",
        "mine.yaml: train.epochs_between: unknown key; did you mean 'epochs'?",
        "mine.yaml: train.lable_smoothing: unknown key; did you mean 'label_smoothing'?",
        "mine.yaml: trian: unknown key; did you mean 'train'?",
    ]
    assert len(unknown) == 1
    assert len(lines) == len(set(lines))


def test_tasks_are_required_and_their_absence_hides_no_other_mistake(tmp_path):
    assert problems(write(tmp_path, {"tsaks": REGRET})) == [
        "mine.yaml: tsaks: unknown key; did you mean 'tasks'?",
        "mine.yaml: tasks: this key is required (What is learned, by name)",
    ]


def test_mistakes_between_keys_are_told_at_once_too(tmp_path):
    content = {
        "tasks": {
            "emotion": {"kind": "distribution", "field": "e"},
            "tags": {"kind": "multilabel", "field": "t", "classes": ["x"], "normalize": True},
            "spread": {"kind": "regression", "field": "s", "transform": "normalized_entropy"},
        },
        "split": {"train": 0.9},
        "model": {"dimension": 30},
        "sweet_spots": {"smoothing": 2},
    }
    assert sorted(problems(write(tmp_path, content))) == [
        "mine.yaml: model.dimension: 30 is no even multiple of model.attention_heads (4);"
        " choose a multiple of 8",
        "mine.yaml: split: the four shares must be above 0 and sum to 1; got train 0.9,"
        " val_select 0.1, val_confirm 0.05, test 0.1",
        "mine.yaml: sweet_spots.smoothing: expected an odd number of checkpoints (1, 3, 5, ...),"
        " got 2",
        "mine.yaml: tasks.emotion.classes: a distribution task needs its classes named",
        "mine.yaml: tasks.spread.transform: needs kind: regression and the classes counted",
        "mine.yaml: tasks.tags.normalize: only a distribution can be normalized",
    ]


def test_an_advanced_analyzer_of_an_unknown_task_is_refused(tmp_path):
    path = write(tmp_path, {"tasks": REGRET, "model": {"advanced": ["regrte"]}})
    assert "model.advanced: there is no task 'regrte'; did you mean 'regret'" in problems(path)[0]


@pytest.mark.parametrize(
    ("train", "refused"),
    [
        ({"epochs": 9, "schedule_epochs": 8}, ["train.epochs"]),
        ({"epochs": 9, "schedule_epochs": 4}, ["train.epochs"]),
        ({"epochs": 3}, []),
        ({"epochs": 9, "schedule_epochs": 8, "final_rate": 0.1}, []),
        ({"epochs": 9, "schedule_epochs": 20}, []),
        ({"epochs": 9, "schedule_epochs": None}, []),
    ],
)
def test_no_epoch_may_run_at_rate_zero(tmp_path, train, refused):
    path = write(tmp_path, {"tasks": REGRET, "train": train})
    if not refused:
        config.read([path])
        return
    lines = problems(path)
    assert [line.split(": ")[1] for line in lines] == refused
    assert all("outlast the schedule of" in line for line in lines)


def test_a_trial_lasts_no_longer_than_the_schedule(tmp_path):
    path = write(tmp_path, {"tasks": REGRET, "train": {"epochs": 3}, "sweep": {"epochs": 5}})
    assert config.read([path])["sweep"]["epochs"] == 3


# --- files that are no config -----------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    assert problems(tmp_path / "absent.yaml") == [
        "absent.yaml: cannot be read (No such file or directory); check the path"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: {epochs: 3", "no valid YAML ("),
        ("- a\n- b\n", "expected keys and values, got list"),
        ("just words", "expected keys and values, got str"),
        ("a: &a [*a]\n", "no valid YAML ("),
        (
            "run: x\ntrain: {epochs: 3}\ntrain: {rdrop: 0}\n",
            "line 3: the key 'train' stands in line 2 already",
        ),
        (
            "run: x\ntrain: {epochs: 3,\n  rdrop: 0,\n  epochs: 4}\n",
            "line 4: the key 'epochs' stands in line 2 already",
        ),
        ("tasks:\n  a: [{b: 1,\n  b: 2}]\n", "line 3: the key 'b' stands in line 2 already"),
        ("run: x\nnull: 3\n", "line 2: a key must be a text"),
        ("run: x\ntasks:\n  1: {}\n", "line 3: a key must be a text"),
        ("run: x\n1.5: 3\n", "line 2: a key must be a text"),
        ("run: x\ntasks: {yes: {}}\n", "line 2: a key must be a text"),
        ("run: x\n? [a, b]\n: 3\n", "line 2: a key must be a text"),
        ("run: x\n# 한글\n".encode("cp949"), "line 2 is no UTF-8; save the file as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", "line 1 is no UTF-8"),
        (b"\x00\x01\x02", "no valid YAML ("),
        (
            "a: &a [x, x, x, x]\n"
            + "".join(
                f"a{i}: &a{i} [{', '.join([f'*a{i - 1 or str()}'] * 9)}]\n" for i in range(1, 9)
            ),
            "no valid YAML (its aliases repeat too much",
        ),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, message):
    if isinstance(content, bytes):
        (tmp_path / "mine.yaml").write_bytes(content)
        (line,) = problems(tmp_path / "mine.yaml")
    else:
        (line,) = problems(write(tmp_path, content))
    assert line.startswith(f"mine.yaml: {message}")


def test_a_pipe_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    assert problems(tmp_path / "mine.yaml") == [
        "mine.yaml: is a pipe or a device, not a file; write its content to a file first"
    ]


def test_tasks_that_teach_nothing_and_classes_in_two_spellings_are_refused(tmp_path):
    weightless = {"regret": {**REGRET["regret"], "weight": 0}}
    assert problems(write(tmp_path, {"tasks": weightless})) == [
        "mine.yaml: tasks: every weight is 0, so nothing would be learned; raise one of them"
    ]
    twice = {"mood": {"kind": "multiclass", "field": "f", "classes": ["\u00e9", "e\u0301"]}}
    assert problems(write(tmp_path, {"tasks": twice})) == [
        "mine.yaml: tasks.mood.classes: '\u00e9' stands twice, in two spellings (NFC, NFD)"
    ]


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    (line,) = problems(write(tmp_path, {"tasks": REGRET, "run": "a" * 101}))
    assert line.startswith("mine.yaml: run: expected at most 100 letters, digits, - and _, got")


def test_an_empty_file_lacks_a_name_and_tasks(tmp_path):
    assert problems(write(tmp_path, "# nothing\n")) == [
        "mine.yaml: run: this key is required (Name of the run: its folder below `results/`, which no"
        " other config should share)",
        "mine.yaml: tasks: this key is required (What is learned, by name)",
    ]


def test_without_a_file_the_key_alone_is_named():
    with pytest.raises(UserError, match=r"^train\.epochs: expected 1 or more, got 0$"):
        config.effective({"run": "x", "tasks": REGRET, "train": {"epochs": 0}})


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_no_setting_is_infinite_or_nan(tmp_path, value):
    path = write(
        tmp_path, f"{yaml.safe_dump({'run': 'x', 'tasks': REGRET})}train: {{clip_norm: {value}}}\n"
    )
    assert problems(path) == [
        f"mine.yaml: train.clip_norm: expected a number, got '{float(value.replace('.', ''))}'"
    ]


def test_a_file_of_another_editor_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    text = yaml.safe_dump({"run": "mine", "tasks": REGRET}).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert config.read([path])["run"] == "mine"


def test_a_mapping_may_be_merged_into_others_and_named_twice(tmp_path):
    text = """
        run: mine
        tasks:
          a: &a {kind: regression, field: a}
          b: {<<: *a, field: b}
          c: *a
    """
    tasks = config.read([write(tmp_path, text)])["tasks"]
    assert [task["field"] for task in tasks.values()] == ["a", "b", "a"]


# --- paths and limits -------------------------------------------------------------------------


def test_the_home_folder_is_written_out_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    content = {
        "data": {"source": "~/mine.jsonl", "corrections": "~/fixes.csv"},
        "split": {"keep": "~/parts.csv"},
        "model": {"pretrained": "~/trunk"},
        "store": {"path": "~/store"},
    }
    settings = config.read([write(tmp_path, {"tasks": REGRET, **content})])
    paths = [settings[section][key] for section, key in config.PATHS]
    names = ("mine.jsonl", "fixes.csv", "parts.csv", "trunk", "store")
    assert paths == [f"{tmp_path}/{name}" for name in names]


def test_the_home_of_nobody_is_refused(tmp_path):
    path = write(tmp_path, {"tasks": REGRET, "store": {"path": "~nobody_at_all/store"}})
    assert problems(path) == [
        "mine.yaml: store.path: ~nobody_at_all/store: no user of that name has a home here; for a"
        " file, write ./~nobody_at_all/store"
    ]


def numbers_without_limits(schema, path=""):
    """The paths of the numbers and lists of a schema that may be of any size."""
    kinds = schema.get("type", "")
    if ("number" in kinds or "integer" in kinds) and not {"maximum", "exclusiveMaximum"} & {
        *schema
    }:
        yield path
    if "array" in kinds and "maxItems" not in schema:
        yield f"{path}[]"
    inner = {"[]": schema.get("items"), "*": schema.get("additionalProperties")}
    for name, value in {**inner, **schema.get("properties", {})}.items():
        if value:
            yield from numbers_without_limits(value, f"{path}.{name}")


def test_every_number_and_list_has_an_upper_limit():
    assert list(numbers_without_limits(files.read_json(config.SCHEMA))) == []


def test_a_number_beyond_its_limit_is_refused_at_once(tmp_path):
    content = {
        "evaluation": {"resamples": 10**9},
        "model": {"layers": 10**6},
        "train": {"epochs": 100_000, "checkpoint_every": 2},
    }
    assert problems(write(tmp_path, {"tasks": REGRET, **content})) == [
        "mine.yaml: evaluation.resamples: expected 100000 or less, got 1000000000",
        "mine.yaml: model.layers: expected 512 or less, got 1000000",
    ]
    del content["evaluation"], content["model"]
    assert problems(write(tmp_path, {"tasks": REGRET, **content})) == [
        "mine.yaml: train.checkpoint_every: 50,000 checkpoints of all seeds: to plan more than 10,000"
        " takes minutes; raise it"
    ]


@pytest.mark.parametrize("path", ["a{b}/x.csv", "data/<run>.csv", "x{.csv"])
def test_a_path_that_snakemake_would_rewrite_is_refused(path):
    with pytest.raises(UserError, match=r"^\S+: Snakemake takes \S+ in a path for its own; rename"):
        config.check_names(["fine.csv", path])
    config.check_names(["a b/<X>.csv", "1 < 2 > 0.csv"])
