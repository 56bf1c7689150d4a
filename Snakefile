"""Red Heart: the whole plan, from raw records to a shipped model and its report."""

from snakemake.utils import min_version

min_version("9.27")

include: "rules/common.smk"


rule all:
    input:
        every_artefact,


include: "rules/data.smk"
include: "rules/sweep.smk"
include: "rules/train.smk"
include: "rules/sweet_spots.smk"
include: "rules/crossover.smk"
include: "rules/suspects.smk"
include: "rules/evaluate.smk"


onsuccess:
    look_again()
    say_results()
