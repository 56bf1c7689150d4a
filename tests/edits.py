"""Edits of a finished run, for the rebuild table: code, scripts, config, artefacts, sources, clocks.

An edit gets the project. It returns the targets to make, where the whole plan would take too long.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import yaml
from project import Project

from redheart.storage import files

# As far in the past or the future as a clock may be wrong.
PAST, FUTURE = 10**18, 4 * 10**18


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
    project.set(sweep={"learning_rates": [1e-3, 1e-2, 1e3]})


def longer_training(project):
    project.set(train={"epochs": 8})


def stated_licence(project):
    project.set(release={"model_license": "apache-2.0"})


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
    project.edit("redheart/report/answers.py", "What ships", "What will ship")


def reordered_config(project):
    config = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(dict(reversed(config.items())), sort_keys=False))


# --- code and scripts ---------------------------------------------------------------------------


def keep_time(path: Path, content: str | bytes) -> None:
    """Write a file and put its time stamp back."""
    status = path.stat()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def set_times(paths, time_ns: int) -> None:
    for path in paths:
        os.utime(path, ns=(time_ns, time_ns))


def script_formula_of_the_same_time(project):
    path = project.folder / "scripts/split_records.py"
    keep_time(path, path.read_text().replace("for i in members", "for i in sorted(members)"))


def older_library(project):
    """A module from an older copy of the library, as a backup gives it."""
    report_code(project)
    set_times([project.folder / "redheart/report/answers.py"], PAST)


def page_of_the_same_time(project):
    path = project.folder / "redheart/report/templates/page.html"
    keep_time(path, path.read_text().replace("</body>", "<!-- a remark --></body>"))


def bridge_comment(project):
    project.edit("scripts/job.py", r"\Z", "\n# A remark.\n")


def script_of_the_config(project):
    project.edit("scripts/write_config.py", r"job\.write\(", "job.write(*(), ")


def code_there_and_back(project):
    path = project.folder / "redheart/tasks/losses.py"
    text = path.read_text()
    path.write_text(text.replace("+ rdrop *", "+ 0.5 * rdrop *"))
    project.snakemake("--dry-run")
    path.write_text(text)


def older_scripts(project):
    set_times(project.folder.glob("scripts/*.py"), PAST)


def scripts_of_the_future(project):
    set_times(project.folder.glob("scripts/*.py"), FUTURE)


def library_of_the_future(project):
    set_times(project.folder.glob("redheart/**/*.py"), FUTURE)
    set_times(project.folder.glob("redheart/**/*.html"), FUTURE)


# --- artefacts ----------------------------------------------------------------------------------


def change_json(project, name, change) -> None:
    path = project.result(name)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edited_metrics(project):
    change_json(project, "seed_0/ckpt/metrics_004.json", lambda table: table.update(epoch=1))


def edited_manifest(project):
    change_json(project, "seed_0/ckpt/epoch_004.json", lambda manifest: manifest["weights"].clear())


def edited_sweet_spots(project):
    change_json(project, "seed_0/sweet_spots.json", lambda spots: spots.clear())


def edited_rate(project):
    """A rate that was never swept."""
    change_json(project, "sweep/best_lr.json", lambda best: best.update(best_learning_rate=0.5))


def edited_part(project):
    change_json(project, "data/split/train.json", lambda records: records.pop())


def edited_comparison(project):
    change_json(project, "comparison.json", lambda c: c["shipped"].update(candidate="last"))


def edited_results(project):
    change_json(project, "final_results.json", lambda r: r["shipped"].update(candidate="last"))


def edited_config(project):
    change_json(project, "config.json", lambda config: config.update(run="other"))


def edited_report(project):
    project.result("report.html").write_text("<p>All is well.</p>")


def edited_recipe(project):
    change_json(project, "model/recipe.json", lambda recipe: recipe.update(candidate="last"))


def edited_card(project):
    project.result("model/README.md").write_text("# The best model")


def flipped_bit(project):
    path = project.result("model/weights.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    keep_time(path, bytes(content))


def swapped_checkpoint(project):
    """Another epoch's weights, with a hash beside them that agrees."""
    path = project.result("seed_0/ckpt/epoch_004.pt")
    shutil.copy2(project.result("seed_0/ckpt/epoch_002.pt"), path)
    files.write_hash(path, files.sha256_file(path))


def edited_artefacts(project):
    """All of these at once."""
    for edit in EDITED_ARTEFACTS:
        edit(project)


EDITED_ARTEFACTS = {
    edited_metrics: "seed_0/ckpt/metrics_004.json",
    edited_manifest: "seed_0/ckpt/epoch_004.json",
    edited_sweet_spots: "seed_0/sweet_spots.json",
    edited_rate: "sweep/best_lr.json",
    edited_part: "data/split/train.json",
    edited_comparison: "comparison.json",
    edited_results: "final_results.json",
    edited_config: "config.json",
    edited_report: "report.html",
    edited_recipe: "model/recipe.json",
    edited_card: "model/README.md",
    flipped_bit: "model/weights.pt",
    swapped_checkpoint: "seed_0/ckpt/epoch_004.pt",
}


def edited_where_the_store_forgot(project):
    for entry in project.folder.glob(".redheart/store/entries/*/*/entry.json"):
        if json.loads(entry.read_text())["ingredients"]["step"] == "find_sweet_spots":
            shutil.rmtree(entry.parent)
    edited_sweet_spots(project)


def deleted_intermediate(project):
    """No target of the plan, and nothing that is made now reads it."""
    project.result("data/lexicon.npz").unlink()


def deleted_record(project):
    project.result("artefacts.json").unlink()


def forgotten_by_snakemake(project):
    """As after a copy of `results/` and the store into another checkout."""
    shutil.rmtree(project.folder / ".snakemake")
    report_code(project)


def older_state_put_back(project):
    backup = project.folder / "backup"
    shutil.copytree(project.folder / "results", backup)
    sweet_spot_weight(project)
    project.snakemake("sweet_spots")
    shutil.rmtree(project.folder / "results")
    backup.rename(project.folder / "results")
    return ("sweet_spots",)


def link_to_nothing(project):
    project.result("report.html").unlink()
    project.result("report.html").symlink_to("nothing")


def fewer_offsets(project):
    project.set(crossover={"offsets": [-2, 0]})


# --- sources ------------------------------------------------------------------------------------

SPLIT = ("split",)


def own_source(project) -> Path:
    """Give the run a corpus of its own, of the demo's records, and split it."""
    source = project.folder / "mine.jsonl"
    source.write_bytes(project.result("data/corpus.jsonl").read_bytes())
    project.set(data={"source": source.name})
    project.snakemake(*SPLIT)
    return source


def without_first(source: Path) -> bytes:
    return source.read_bytes().partition(b"\n")[2]


def replaced_by_older_source(project):
    """As mv, cp -p, rsync -t and unzip do."""
    source = own_source(project)
    other = source.with_name("other.jsonl")
    other.write_bytes(without_first(source))
    set_times([other], PAST)
    other.replace(source)
    return SPLIT


def source_of_the_same_time_and_size(project):
    source = own_source(project)
    keep_time(source, source.read_bytes().replace(b'"demo-00000"', b'"demo-99999"'))
    return SPLIT


def edited_source_of_the_future(project):
    source = own_source(project)
    source.write_bytes(without_first(source))
    set_times([source], FUTURE)
    return SPLIT


def touched_source(project):
    own_source(project).touch()
    return SPLIT


def source_of_the_future(project):
    set_times([own_source(project)], FUTURE)
    return SPLIT


def copied_source(project):
    source = own_source(project)
    shutil.copy(source, source.with_name("copy.jsonl"))
    source.with_name("copy.jsonl").replace(source)
    return SPLIT


def source_there_and_back(project):
    source = own_source(project)
    content = source.read_bytes()
    source.write_bytes(without_first(source))
    project.snakemake(*SPLIT)
    source.write_bytes(content)
    return SPLIT


def own_parts(project) -> Path:
    """Keep the first record of each part of the run where it is."""
    kept = project.folder / "kept.csv"
    rows = [
        f"{json.loads(project.result(f'data/split/{part}.json').read_text())[0]['id']},{part}\n"
        for part in ("train", "val_select", "val_confirm", "test")
    ]
    kept.write_text("id,part\n" + "".join(rows))
    project.set(split={"keep": kept.name})
    project.snakemake(*SPLIT)
    return kept


def older_kept_parts(project):
    kept = own_parts(project)
    kept.write_text("".join(kept.read_text().splitlines(keepends=True)[:-1]))
    set_times([kept], PAST)
    return SPLIT


def kept_parts_of_the_future(project):
    set_times([own_parts(project)], FUTURE)
    return SPLIT


# --- corrections --------------------------------------------------------------------------------


def own_corrections(project, part="train", targets=SPLIT) -> Path:
    """Keep all parts as they are, and change the verdict of the first record of a part."""
    parts = [
        f"{record['id']},{name}\n"
        for name in ("train", "val_select", "val_confirm", "test")
        for record in json.loads(project.result(f"data/split/{name}.json").read_text())
    ]
    (project.folder / "parts.csv").write_text("id,part\n" + "".join(parts))
    fixes = project.folder / "fixes.csv"
    fixes.write_text("id,field,value\n")
    project.set(split={"keep": "parts.csv"}, data={"corrections": fixes.name})
    project.snakemake(*targets)
    records = json.loads(project.result(f"data/split/{part}.json").read_text())
    record = next(record for record in records if "label" in record)
    other = "INFO" if record["label"] != "INFO" else "OTHER"
    fixes.write_text(f"id,field,value\n{record['id']},label,{other}\n")
    return fixes


def mended_label(project):
    own_corrections(project)
    return SPLIT


def mended_label_of_test(project):
    own_corrections(project, "test", ())


def touched_corrections(project):
    fixes = own_corrections(project)
    project.snakemake(*SPLIT)
    set_times([fixes], FUTURE)
    return SPLIT


def corrections_there_and_back(project):
    fixes = own_corrections(project)
    project.snakemake(*SPLIT)
    fixes.write_text("id,field,value\n")
    return SPLIT


def more_careful_threshold(project):
    project.set(data_map={"false_discovery_rate": 0.01})


# --- clocks -------------------------------------------------------------------------------------


def artefacts(project: Project) -> list[Path]:
    return [path for path in sorted(project.result(".").rglob("*")) if path.is_file()]


def artefacts_of_the_future(project):
    set_times(artefacts(project), FUTURE)


def artefacts_of_one_moment_long_ago(project):
    set_times(artefacts(project), PAST)


def artefacts_in_reverse_order(project):
    for number, path in enumerate(artefacts(project)[::-1]):
        set_times([path], PAST + number * 10**9)


def future_and_more_to_do(project):
    """A step that has to run reads files of the future."""
    artefacts_of_the_future(project)
    report_code(project)


def artefact_in_another_copy(project):
    path = project.result("data/records.jsonl")
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
