# Phase 4: modules of several epochs stitched into one model, its variants, the soups, the search.

# There are files of moving averages only where checkpoints hold the averages.
AVERAGED = ["", "_ema"] if CONFIG["checkpoints"]["ema"] else [""]
SOUPS = [f"{kind}{suffix}" for suffix in AVERAGED for kind in ("uniform", "greedy")]
UNITS = [f"units{suffix}" for suffix in AVERAGED]


rule stitch_crossover:
    input:
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
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
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
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


rule stitch_units:
    input:
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
    output:
        weights=f"{RUN}/seed_{{seed}}/crossover/{{kind}}.pt",
        recipe=f"{RUN}/seed_{{seed}}/crossover/{{kind}}.json",
    wildcard_constraints:
        kind="units|units_ema",
    log:
        f"{RUN}/logs/stitch_units_seed_{{seed}}_{{kind}}.log",
    params:
        **shared("stitch_units"),
    script:
        "../scripts/stitch_units.py"


rule make_soups:
    input:
        metrics=checkpoints(run_files.metrics),
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        val_select=f"{ENCODED}/val_select.npz",
    output:
        **{soup: f"{RUN}/seed_{{seed}}/soups/{soup}.pt" for soup in SOUPS},
        recipe=f"{RUN}/seed_{{seed}}/soups/recipe.json",
    log:
        f"{RUN}/logs/make_soups_seed_{{seed}}.log",
    params:
        **shared("make_soups"),
    resources:
        gpu=1,
    script:
        "../scripts/make_soups.py"


rule search_units:
    input:
        greedy=f"{RUN}/seed_{{seed}}/soups/greedy.pt",
        weights=checkpoints(run_files.checkpoint),
        manifests=checkpoints(run_files.manifest),
        val_select=f"{ENCODED}/val_select.npz",
    output:
        weights=f"{RUN}/seed_{{seed}}/crossover/ascent.pt",
        search=f"{RUN}/seed_{{seed}}/search.json",
    log:
        f"{RUN}/logs/search_units_seed_{{seed}}.log",
    benchmark:
        f"{RUN}/benchmarks/search_units_seed_{{seed}}.tsv"
    params:
        **shared("search_units"),
    resources:
        gpu=1,
    script:
        "../scripts/search_units.py"


rule crossover:
    input:
        expand(rules.stitch_crossover.output, seed=SEEDS),
        expand(rules.stitch_variant.output, seed=SEEDS, offset=OFFSETS),
        expand(rules.stitch_units.output, seed=SEEDS, kind=UNITS),
        expand(rules.make_soups.output, seed=SEEDS),
        expand(rules.search_units.output, seed=SEEDS),
