# Phase 1: every rate and repeat, rung by rung -> metrics of a rate -> the chosen rate.
from redheart.halving import HalvingOptions, rung_ends

# Completed epochs at the end of each rung. Without successive halving there is one, the whole sweep.
RUNG_ENDS = rung_ends(CONFIG["sweep"]["epochs"], build(HalvingOptions, CONFIG["sweep"]))
SHORT_RUNGS = [f"rung_{number}/" for number in range(1, len(RUNG_ENDS))]


wildcard_constraints:
    # Empty for the last rung, whose trials are those of a sweep without rungs.
    rung=f"({'|'.join(SHORT_RUNGS)})?",
    number=r"\d+",


def rung_before(wildcards):
    """The folder of the rung before, in a list; none before the first."""
    place = [*SHORT_RUNGS, ""].index(wildcards.rung)
    return SHORT_RUNGS[place - 1 : place] if place else []


def epochs_of_rung(wildcards):
    """Completed epochs before and after a rung."""
    place = [*SHORT_RUNGS, ""].index(wildcards.rung)
    return [0, *RUNG_ENDS][place : place + 2]


rule sweep_rate:
    input:
        train=f"{RUN}/data/encoded/train.npz",
        val_select=f"{RUN}/data/encoded/val_select.npz",
        before=lambda w: [f"{RUN}/sweep/{b}lr_{w.rate}/seed_{w.seed}.json" for b in rung_before(w)],
        decision=lambda w: [f"{RUN}/sweep/{b}decision.json" for b in rung_before(w)],
    output:
        trial=f"{RUN}/sweep/{{rung}}lr_{{rate}}/seed_{{seed}}.json",
    log:
        f"{RUN}/logs/{{rung}}sweep_rate_{{rate}}_seed_{{seed}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{rung}}sweep_rate_{{rate}}_seed_{{seed}}.tsv"
    params:
        **shared("sweep_rate"),
        budget_gb=CONFIG["memory"]["budget_gb"],
        epochs=epochs_of_rung,
    resources:
        gpu=1,
    script:
        "../scripts/sweep_rate.py"


rule decide_rung:
    input:
        trials=expand(
            f"{RUN}/sweep/rung_{{{{number}}}}/lr_{{rate}}/seed_{{seed}}.json",
            rate=RATES,
            seed=CONFIG["sweep"]["seeds"],
        ),
    output:
        decision=f"{RUN}/sweep/rung_{{number}}/decision.json",
    log:
        f"{RUN}/logs/rung_{{number}}/decide_rung.log",
    params:
        **shared("decide_rung"),
    script:
        "../scripts/decide_rung.py"


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
