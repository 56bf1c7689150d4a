# Phase 4: modules of several epochs stitched into one model, its variants, and the soups.

rule stitch_crossover:
    input:
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
        weights=checkpoints("epoch_{epoch}.pt"),
        manifests=checkpoints("epoch_{epoch}.json"),
    output:
        weights=f"{RUN}/seed_{{seed}}/crossover/optimal.pt",
        recipe=f"{RUN}/seed_{{seed}}/crossover/recipe.json",
    log:
        f"{RUN}/logs/stitch_crossover_seed_{{seed}}.log",
    params:
        **shared("stitch_crossover"),
    script:
        "../scripts/stitch_crossover.py"


rule stitch_variant:
    input:
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
        weights=checkpoints("epoch_{epoch}.pt"),
        manifests=checkpoints("epoch_{epoch}.json"),
    output:
        weights=f"{RUN}/seed_{{seed}}/variants/offset_{{offset}}.pt",
        recipe=f"{RUN}/seed_{{seed}}/variants/offset_{{offset}}.json",
    log:
        f"{RUN}/logs/stitch_variant_seed_{{seed}}_{{offset}}.log",
    params:
        **shared("stitch_variant"),
        offsets=OFFSETS,
    script:
        "../scripts/stitch_variant.py"


rule make_soups:
    input:
        metrics=checkpoints("metrics_{epoch}.json"),
        weights=checkpoints("epoch_{epoch}.pt"),
        manifests=checkpoints("epoch_{epoch}.json"),
        val_select=f"{ENCODED}/val_select.npz",
    output:
        uniform=f"{RUN}/seed_{{seed}}/soups/uniform.pt",
        greedy=f"{RUN}/seed_{{seed}}/soups/greedy.pt",
        recipe=f"{RUN}/seed_{{seed}}/soups/recipe.json",
    log:
        f"{RUN}/logs/make_soups_seed_{{seed}}.log",
    params:
        **shared("make_soups"),
    resources:
        gpu=1,
    script:
        "../scripts/make_soups.py"


rule crossover:
    input:
        expand(rules.stitch_crossover.output, seed=SEEDS),
        expand(rules.stitch_variant.output, seed=SEEDS, offset=OFFSETS),
        expand(rules.make_soups.output, seed=SEEDS),
