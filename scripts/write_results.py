"""Gather everything that others read of a run into one file, with its provenance and cost."""

import os

from job import commit, versions

from redheart.selection import openings, results
from redheart.storage import files
from redheart.storage.ledger import Ledger

given = snakemake.input
found = results.gather(
    run=snakemake.params.run,
    comparison=files.read_json(given.comparison),
    access=openings.summarise_openings(
        files.read_json(given.access), snakemake.params.run, given.choice
    ),
    reports={name: files.read_json(given[name]) for name in ("records", "dedup", "split")},
    best=files.read_json(given.best),
    spots=dict(zip(snakemake.params.seeds, map(files.read_json, given.spots), strict=True)),
    provenance={
        "commit": commit(),
        "versions": versions(),
        "command": os.environ["REDHEART_COMMAND"],
        "config_sha256": files.sha256_file(given.config),
    },
    cost=results.cost(Ledger(os.environ["REDHEART_LEDGER"]).lines(), os.path.dirname(given.config)),
)
files.write_json(snakemake.output.results, found)
