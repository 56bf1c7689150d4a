# Phase 2: a leg of training a job; its parent is the checkpoint before.

def parent(pattern):
    """The file of the checkpoint before, or nothing for the first."""

    def find(wildcards):
        place = EPOCHS.index(wildcards.epoch) if wildcards.epoch in EPOCHS else 0
        before = EPOCHS[place - 1 : place] if place else []
        return [f"{RUN}/seed_{wildcards.seed}/ckpt/{pattern.format(epoch=e)}" for e in before]

    return find


rule train_leg:
    input:
        train=f"{ENCODED}/train.npz",
        val_select=f"{ENCODED}/val_select.npz",
        trunk=LEARNING_TRUNK[1:],
        best=f"{RUN}/sweep/best_lr.json",
        parent_weights=parent("epoch_{epoch}.pt"),
        parent_manifest=parent("epoch_{epoch}.json"),
        parent_metrics=parent("metrics_{epoch}.json"),
    output:
        weights=f"{RUN}/seed_{{seed}}/ckpt/epoch_{{epoch}}.pt",
        manifest=f"{RUN}/seed_{{seed}}/ckpt/epoch_{{epoch}}.json",
        steps=f"{RUN}/seed_{{seed}}/ckpt/steps_{{epoch}}.jsonl",
        metrics=f"{RUN}/seed_{{seed}}/ckpt/metrics_{{epoch}}.json",
    log:
        f"{RUN}/logs/train_leg_seed_{{seed}}_{{epoch}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_leg_seed_{{seed}}_{{epoch}}.tsv"
    params:
        **shared("train_leg"),
        evaluate_checkpoint=shared("evaluate_checkpoint"),
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
