# Phase 3: the checkpoints' metrics -> the best epoch of each module group and unit.

rule find_sweet_spots:
    input:
        metrics=checkpoints(run_files.metrics),
        manifests=checkpoints(run_files.manifest),
    output:
        spots=f"{RUN}/seed_{{seed}}/sweet_spots.json",
    log:
        f"{RUN}/logs/find_sweet_spots_seed_{{seed}}.log",
    params:
        **shared("find_sweet_spots"),
    script:
        "../scripts/find_sweet_spots.py"


rule sweet_spots:
    input:
        expand(rules.find_sweet_spots.output, seed=SEEDS),
