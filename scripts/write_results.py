"""Gather the results of a run into one file, with their provenance and cost."""

import os

from job import commit, versions

from redheart.selection import openings, results
from redheart.storage import files
from redheart.storage.ledger import Ledger
from redheart.workflow.steps import PHASES

inputs, run_folder = snakemake.input, os.path.dirname(snakemake.input.config)
gathered = results.gather(
    run=snakemake.params.run,
    comparison=files.read_json(inputs.comparison),
    access=openings.summarise_openings(
        files.read_json(inputs.access), snakemake.params.run, inputs.choice
    ),
    reports={name: files.read_json(inputs[name]) for name in ("records", "dedup", "split")},
    best=files.read_json(inputs.best),
    spots=dict(zip(snakemake.params.seeds, map(files.read_json, inputs.spots), strict=True)),
    provenance={
        "commit": commit(),
        "versions": versions(),
        "command": os.environ["REDHEART_COMMAND"],
        "config_sha256": files.sha256_file(inputs.config),
    },
    cost=results.cost(Ledger(os.environ["REDHEART_LEDGER"]).lines(), run_folder, PHASES),
)
files.write_json(snakemake.output.results, gathered)
