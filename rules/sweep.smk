# Phase 1: every rate and repeat -> metrics of a rate -> the chosen rate.

rule sweep_rate:
    input:
        train=f"{RUN}/data/encoded/train.npz",
        val_select=f"{RUN}/data/encoded/val_select.npz",
    output:
        trial=f"{RUN}/sweep/lr_{{rate}}/seed_{{seed}}.json",
    log:
        f"{RUN}/logs/sweep_rate_{{rate}}_seed_{{seed}}.log",
    benchmark:
        f"{RUN}/benchmarks/sweep_rate_{{rate}}_seed_{{seed}}.tsv"
    params:
        **shared("sweep_rate"),
        budget_gb=CONFIG["memory"]["budget_gb"],
    resources:
        gpu=1,
    script:
        "../scripts/sweep_rate.py"


rule join_sweep:
    input:
        trials=expand(f"{RUN}/sweep/lr_{{{{rate}}}}/seed_{{seed}}.json", seed=CONFIG["sweep"]["seeds"]),
    output:
        metrics=f"{RUN}/sweep/lr_{{rate}}/metrics.json",
    log:
        f"{RUN}/logs/join_sweep_{{rate}}.log",
    params:
        **shared("join_sweep"),
    script:
        "../scripts/join_sweep.py"


rule choose_rate:
    input:
        metrics=expand(f"{RUN}/sweep/lr_{{rate}}/metrics.json", rate=RATES),
    output:
        best=f"{RUN}/sweep/best_lr.json",
        curves=f"{RUN}/sweep/curves.json",
    log:
        f"{RUN}/logs/choose_rate.log",
    params:
        **shared("choose_rate"),
    script:
        "../scripts/choose_rate.py"


rule sweep:
    input:
        rules.choose_rate.output,
