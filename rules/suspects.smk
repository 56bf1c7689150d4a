# Mislabelled records: what all checkpoints say about each record -> the map -> the suspected ones.


def by_epoch(file):
    """A seed's files of one kind as the outputs of one rule, each under a name."""
    return {f"epoch_{epoch}": f"{RUN}/seed_{{seed}}/{file(epoch)}" for epoch in EPOCHS}


rule judge_records:
    input:
        metrics=checkpoints(run_files.metrics),
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        train=f"{ENCODED}/train.npz",
        val_confirm=f"{ENCODED}/val_confirm.npz",
    output:
        **by_epoch(run_files.opinions),
    log:
        f"{RUN}/logs/judge_records_seed_{{seed}}.log",
    params:
        **shared("judge_records"),
    resources:
        gpu=1,
    script:
        "../scripts/judge_records.py"


rule judge_test:
    input:
        access=f"{RUN}/test_access.json",
        metrics=checkpoints(run_files.metrics),
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        test=f"{ENCODED}/test.npz",
    output:
        **by_epoch(run_files.opinions_on_test),
    log:
        f"{RUN}/logs/judge_test_seed_{{seed}}.log",
    params:
        **shared("judge_test"),
    resources:
        gpu=1,
    script:
        "../scripts/judge_test.py"


rule map_records:
    input:
        access=f"{RUN}/test_access.json",
        scored=checkpoints(run_files.scored_opinions),
        judged=checkpoints(run_files.opinions),
        on_test=checkpoints(run_files.opinions_on_test),
        **{part: f"{RUN}/{run_files.encoded(part)}" for part in PARTS},
        **{f"{part}_records": f"{RUN}/{run_files.records(part)}" for part in PARTS},
    output:
        map=f"{RUN}/seed_{{seed}}/data_map.json",
    log:
        f"{RUN}/logs/map_records_seed_{{seed}}.log",
    params:
        **shared("map_records"),
        parts=PARTS,
    script:
        "../scripts/map_records.py"


rule find_suspects:
    input:
        access=f"{RUN}/test_access.json",
        maps=expand(f"{RUN}/seed_{{seed}}/data_map.json", seed=SEEDS),
        **SCALES,
        **{part: f"{RUN}/{run_files.records(part)}" for part in PARTS},
    output:
        suspects=f"{RUN}/{run_files.SUSPECTS}",
        table=f"{RUN}/tables/suspects.csv",
    log:
        f"{RUN}/logs/find_suspects.log",
    params:
        **shared("find_suspects"),
        seeds=SEEDS,
        parts=PARTS,
    script:
        "../scripts/find_suspects.py"


rule suspects:
    input:
        rules.find_suspects.output if CONFIG["data_map"]["enabled"] else [],
