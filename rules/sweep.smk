# Phase 1: every rate and repeat, rung by rung -> metrics of a rate -> the chosen rate.
from redheart.sweep.halving import HalvingOptions, make_rungs

SWEEP_SEEDS = CONFIG["sweep"]["seeds"]
# Without successive halving, the whole sweep is one rung.
RUNGS = make_rungs(
    CONFIG["sweep"]["epochs"], len(SWEEP_SEEDS), build(HalvingOptions, CONFIG["sweep"])
)
# The last rung has no folder: its trials are those of a sweep without rungs.
FOLDERS = [*(f"rung_{number}/" for number in range(1, len(RUNGS))), ""]


wildcard_constraints:
    rung=f"({'|'.join(FOLDERS[:-1])})?",
    number=r"\d+",


def decision_before(wildcards):
    """The decision of the previous rung, in a list; an empty list for the first rung."""
    place = FOLDERS.index(wildcards.rung)
    return [f"{RUN}/sweep/{folder}decision.json" for folder in FOLDERS[:place][-1:]]


def trial_before(wildcards):
    """The trial's file of the previous rung, in a list; empty if the seed was not in that rung."""
    place = FOLDERS.index(wildcards.rung)
    seeds = SWEEP_SEEDS[: RUNGS[place - 1].seeds] if place else []
    trial = f"lr_{wildcards.rate}/seed_{wildcards.seed}.json"
    return [f"{RUN}/sweep/{FOLDERS[place - 1]}{trial}"] if int(wildcards.seed) in seeds else []


def epochs_of_rung(wildcards):
    """Completed epochs at the start and at the end of a rung."""
    place = FOLDERS.index(wildcards.rung)
    return [RUNGS[place - 1].epochs if trial_before(wildcards) else 0, RUNGS[place].epochs]


def trials_of_rung(wildcards):
    """All trials of a rung, which is never the last one: that has no folder."""
    folder = f"{RUN}/sweep/rung_{wildcards.number}"
    seeds = SWEEP_SEEDS[: RUNGS[int(wildcards.number) - 1].seeds]
    return [f"{folder}/lr_{rate}/seed_{seed}.json" for rate in RATES for seed in seeds]


rule sweep_rate:
    input:
        train=f"{ENCODED}/train.npz",
        val_select=f"{ENCODED}/val_select.npz",
        trunk=LEARNING_TRUNK[1:],
        before=trial_before,
        decision=decision_before,
    output:
        trial=f"{RUN}/sweep/{{rung}}lr_{{rate}}/seed_{{seed}}.json",
    log:
        f"{RUN}/logs/{{rung}}sweep_rate_{{rate}}_seed_{{seed}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{rung}}sweep_rate_{{rate}}_seed_{{seed}}.tsv"
    params:
        **shared("sweep_rate"),
        memory=CONFIG["memory"],
        snapshot_minutes=CONFIG["store"]["snapshot_minutes"],
        epochs=epochs_of_rung,
    resources:
        gpu=1,
    script:
        "../scripts/sweep_rate.py"


rule decide_rung:
    input:
        trials=trials_of_rung,
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
        trials=expand(f"{RUN}/sweep/lr_{{{{rate}}}}/seed_{{seed}}.json", seed=SWEEP_SEEDS),
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
