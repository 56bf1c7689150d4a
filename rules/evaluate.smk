# The end: every candidate on held-out data, the decision, the model that ships, the report.
from redheart.crossover.candidates import stitched_files
from redheart.report.contents import report_files
from redheart.report.page import TEMPLATES as REPORT_TEMPLATES
from redheart.selection.checksums import CHECKSUMS


def caption(path):
    """What `snakemake --report` says of a file of the report."""
    folder, _, file = path.rpartition("/")
    name, kind = os.path.splitext(file)
    if not folder:
        return {"category": "Report", "caption": "captions/report.rst"}
    of_task = folder.endswith("tasks")
    words = f"captions/{'figures/task' if of_task else f'{folder}/{name}'}.rst"
    kind = kind.removeprefix(".")
    labels = {"task" if of_task else folder.removesuffix("s"): name.replace("_", " "), "file": kind}
    return {"category": folder.partition("/")[0].title(), "caption": words, "labels": labels}


# The weights of a trunk that learned ship with all other weights, so only its config is added.
SHIPPED_TRUNK = {**TRUNK} if FROZEN else {"trunk_config": TRUNK["trunk_config"]} if PRETRAINED else {}

STITCHED = stitched_files(CONFIG["checkpoints"]["ema"], OFFSETS)

rule predict_candidates:
    input:
        metrics=checkpoints(run_files.metrics),
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        stitched=[f"{RUN}/seed_{{seed}}/{file}" for file in STITCHED],
        soup_recipe=f"{RUN}/seed_{{seed}}/soups/recipe.json",
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
        search=f"{RUN}/seed_{{seed}}/search.json",
        variant_recipes=[f"{RUN}/seed_{{seed}}/variants/offset_{o}.json" for o in OFFSETS],
        val_select=f"{ENCODED}/val_select.npz",
        val_confirm=f"{ENCODED}/val_confirm.npz",
    output:
        predictions=f"{RUN}/seed_{{seed}}/predictions.npz",
        sources=f"{RUN}/seed_{{seed}}/candidates.json",
    log:
        f"{RUN}/logs/predict_candidates_seed_{{seed}}.log",
    params:
        **shared("predict_candidates"),
    resources:
        gpu=1,
    script:
        "../scripts/predict_candidates.py"


rule choose_candidate:
    input:
        predictions=expand(f"{RUN}/seed_{{seed}}/predictions.npz", seed=SEEDS),
        sources=expand(f"{RUN}/seed_{{seed}}/candidates.json", seed=SEEDS),
        clusters=f"{RUN}/data/split/clusters.json",
        val_select=f"{RUN}/data/encoded/val_select.npz",
        val_confirm=f"{RUN}/data/encoded/val_confirm.npz",
    output:
        choice=f"{RUN}/choice.json",
    log:
        f"{RUN}/logs/choose_candidate.log",
    params:
        **shared("choose_candidate"),
        seeds=SEEDS,
    script:
        "../scripts/choose_candidate.py"


rule fit_decisions:
    input:
        choice=f"{RUN}/choice.json",
        predictions=expand(f"{RUN}/seed_{{seed}}/predictions.npz", seed=SEEDS),
        val_select=f"{RUN}/data/encoded/val_select.npz",
        val_confirm=f"{RUN}/data/encoded/val_confirm.npz",
    output:
        decisions=f"{RUN}/decisions.json",
    log:
        f"{RUN}/logs/fit_decisions.log",
    params:
        **shared("fit_decisions"),
        seeds=SEEDS,
    script:
        "../scripts/fit_decisions.py"


# From here on the choice is frozen. Every rule that reads test needs `access`, the log of openings.

rule open_test:
    input:
        choice=f"{RUN}/choice.json",
        # For the order alone: nothing is fitted once test is open.
        decisions=f"{RUN}/decisions.json",
        test=f"{RUN}/data/split/test.json",
    output:
        access=f"{RUN}/test_access.json",
    log:
        f"{RUN}/logs/open_test.log",
    params:
        **shared("open_test"),
        run=CONFIG["run"],
    script:
        "../scripts/open_test.py"


rule predict_test:
    input:
        access=f"{RUN}/test_access.json",
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        stitched=[f"{RUN}/seed_{{seed}}/{file}" for file in STITCHED],
        sources=f"{RUN}/seed_{{seed}}/candidates.json",
        test=f"{ENCODED}/test.npz",
    output:
        predictions=f"{RUN}/seed_{{seed}}/test_predictions.npz",
    log:
        f"{RUN}/logs/predict_test_seed_{{seed}}.log",
    params:
        **shared("predict_test"),
    resources:
        gpu=1,
    script:
        "../scripts/predict_test.py"


rule fit_baseline:
    input:
        access=f"{RUN}/test_access.json",
        **{part: f"{RUN}/data/split/{part}.json" for part in PARTS},
        **SCALES,
    output:
        predictions=f"{RUN}/baseline/predictions.npz",
        report=f"{RUN}/baseline/report.json",
    log:
        f"{RUN}/logs/fit_baseline.log",
    params:
        **shared("fit_baseline"),
        parts=PARTS,
    script:
        "../scripts/fit_baseline.py"


rule compare_candidates:
    input:
        access=f"{RUN}/test_access.json",
        choice=f"{RUN}/choice.json",
        predictions=expand(f"{RUN}/seed_{{seed}}/predictions.npz", seed=SEEDS),
        test_predictions=expand(f"{RUN}/seed_{{seed}}/test_predictions.npz", seed=SEEDS),
        baseline=f"{RUN}/baseline/predictions.npz",
        sources=expand(f"{RUN}/seed_{{seed}}/candidates.json", seed=SEEDS),
        clusters=f"{RUN}/data/split/clusters.json",
        val_select=f"{RUN}/data/encoded/val_select.npz",
        val_confirm=f"{RUN}/data/encoded/val_confirm.npz",
        test=f"{RUN}/data/encoded/test.npz",
    output:
        comparison=f"{RUN}/comparison.json",
    log:
        f"{RUN}/logs/compare_candidates.log",
    params:
        **shared("compare_candidates"),
        seeds=SEEDS,
    script:
        "../scripts/compare_candidates.py"


rule assess_model:
    input:
        access=f"{RUN}/test_access.json",
        decisions=f"{RUN}/decisions.json",
        test_predictions=expand(f"{RUN}/seed_{{seed}}/test_predictions.npz", seed=SEEDS),
        baseline=f"{RUN}/baseline/predictions.npz",
        clusters=f"{RUN}/data/split/clusters.json",
        records=f"{RUN}/data/split/test.json",
        train=f"{RUN}/data/encoded/train.npz",
        val_select=f"{RUN}/data/encoded/val_select.npz",
        test=f"{RUN}/data/encoded/test.npz",
    output:
        assessment=f"{RUN}/assessment.json",
        predictions=f"{RUN}/tables/test_predictions.csv",
    log:
        f"{RUN}/logs/assess_model.log",
    params:
        **shared("assess_model"),
        seeds=SEEDS,
    script:
        "../scripts/assess_model.py"


rule ship_model:
    input:
        comparison=f"{RUN}/comparison.json",
        decisions=f"{RUN}/decisions.json",
        assessment=f"{RUN}/assessment.json",
        sources=expand(f"{RUN}/seed_{{seed}}/candidates.json", seed=SEEDS),
        weights=expand(f"{RUN}/seed_{{seed}}/ckpt/epoch_{{epoch}}.pt", seed=SEEDS, epoch=EPOCHS),
        stitched=expand(f"{RUN}/seed_{{seed}}/{{file}}", seed=SEEDS, file=STITCHED),
        tokenizer=TOKENIZER,
        lexicon=f"{RUN}/data/lexicon.npz",
        config=f"{RUN}/config.json",
        **SCALES,
        **{name: f"{RUN}/{file}" for name, file in SHIPPED_TRUNK.items()},
    output:
        weights=f"{RUN}/model/weights.pt",
        tokenizer=f"{RUN}/model/tokenizer.json",
        lexicon=f"{RUN}/model/lexicon.npz",
        config=f"{RUN}/model/config.json",
        recipe=f"{RUN}/model/recipe.json",
        card=f"{RUN}/model/README.md",
        **{name: f"{RUN}/model/scales.json" for name in SCALES},
        checksums=f"{RUN}/model/{CHECKSUMS}",
        **{name: f"{RUN}/model/{file}" for name, file in SHIPPED_TRUNK.items()},
    log:
        f"{RUN}/logs/ship_model.log",
    params:
        **shared("ship_model"),
        run=CONFIG["run"],
        seeds=SEEDS,
    script:
        "../scripts/ship_model.py"


rule write_results:
    input:
        comparison=f"{RUN}/comparison.json",
        assessment=f"{RUN}/assessment.json",
        choice=f"{RUN}/choice.json",
        access=f"{RUN}/test_access.json",
        records=f"{RUN}/data/records_report.json",
        dedup=f"{RUN}/data/dedup_report.json",
        split=f"{RUN}/data/split_report.json",
        best=f"{RUN}/sweep/best_lr.json",
        spots=expand(f"{RUN}/seed_{{seed}}/sweet_spots.json", seed=SEEDS),
        config=f"{RUN}/config.json",
    output:
        results=f"{RUN}/final_results.json",
    log:
        f"{RUN}/logs/write_results.log",
    params:
        **shared("write_results"),
        run=CONFIG["run"],
        seeds=SEEDS,
    script:
        "../scripts/write_results.py"


# Made by `find_suspects`, where the config asks for a map of the records.
MAPPED = CONFIG.get("data_map", {}).get("enabled")
SUSPECTS = {"suspects": f"{RUN}/suspects.json"} if MAPPED else {}
REPORT_FILES = {
    name: report(f"{RUN}/{path}", **caption(path))
    for name, path in report_files(CONFIG["tasks"], CONFIG["report"]["figures"]).items()
}


rule make_report:
    input:
        results=f"{RUN}/final_results.json",
        sources=expand(f"{RUN}/seed_{{seed}}/candidates.json", seed=SEEDS),
        dedup=f"{RUN}/data/dedup_report.json",
        split=f"{RUN}/data/split_report.json",
        records=f"{RUN}/data/records_report.json",
        best=f"{RUN}/sweep/best_lr.json",
        curves=f"{RUN}/sweep/curves.json",
        sweet_spots=expand(f"{RUN}/seed_{{seed}}/sweet_spots.json", seed=SEEDS),
        search=expand(f"{RUN}/seed_{{seed}}/search.json", seed=SEEDS),
        parts=expand(f"{RUN}/data/split/{{part}}.json", part=PARTS),
        assessment=f"{RUN}/assessment.json",
        decisions=f"{RUN}/decisions.json",
        config=f"{RUN}/config.json",
        **SUSPECTS,
        # It checks every file of the run first, and these are the last ones.
        shipped=rules.ship_model.output,
    output:
        **REPORT_FILES,
    log:
        f"{RUN}/logs/make_report.log",
    params:
        **shared("make_report"),
        outside=outside(templates=[os.path.relpath(path) for path in REPORT_TEMPLATES]),
    script:
        "../scripts/make_report.py"


rule evaluate:
    input:
        rules.write_results.output,
        rules.ship_model.output,


rule report:
    input:
        rules.make_report.output,
