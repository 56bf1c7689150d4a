# Phase 2: each job trains one leg; its parent is the previous checkpoint.

def parent(file):
    """Return a function that lists the previous checkpoint's file; nothing for the first one."""

    def find(wildcards):
        place = EPOCHS.index(wildcards.epoch) if wildcards.epoch in EPOCHS else 0
        epochs = EPOCHS[place - 1 : place] if place else []
        return [f"{RUN}/seed_{wildcards.seed}/{file(epoch)}" for epoch in epochs]

    return find


rule train_leg:
    input:
        train=f"{ENCODED}/train.npz",
        val_select=f"{ENCODED}/val_select.npz",
        trunk=LEARNING_TRUNK[1:],
        best=f"{RUN}/sweep/best_lr.json",
        parent_weights=parent(run_files.checkpoint),
        parent_manifest=parent(run_files.manifest),
        parent_metrics=parent(run_files.metrics),
    output:
        weights=f"{RUN}/seed_{{seed}}/{run_files.checkpoint('{epoch}')}",
        manifest=f"{RUN}/seed_{{seed}}/{run_files.manifest('{epoch}')}",
        steps=f"{RUN}/seed_{{seed}}/{run_files.steps('{epoch}')}",
        metrics=f"{RUN}/seed_{{seed}}/{run_files.metrics('{epoch}')}",
        opinions=f"{RUN}/seed_{{seed}}/{run_files.scored_opinions('{epoch}')}",
    log:
        f"{RUN}/logs/train_leg_seed_{{seed}}_{{epoch}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_leg_seed_{{seed}}_{{epoch}}.tsv"
    params:
        **shared("train_leg"),
        evaluate_checkpoint=as_is(also_shared("evaluate_checkpoint")),
        memory=CONFIG["memory"],
        snapshot_minutes=CONFIG["store"]["snapshot_minutes"],
        keep_states=[CONFIG["store"]["keep_every"], CONFIG["store"]["keep_last"]],
        devices=CONFIG["train"]["devices"],
    resources:
        gpu=CONFIG["train"]["devices"],
    script:
        "../scripts/train_leg.py"


rule train:
    input:
        expand(rules.train_leg.output, seed=SEEDS, epoch=EPOCHS),
