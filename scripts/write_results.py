"""Gather the results of a run into one file, with their provenance and cost."""

import os

from job import Job, commit, versions

from redheart.assessment.sentences import with_assessment
from redheart.selection import openings, results
from redheart.storage import files
from redheart.storage.ledger import Ledger
from redheart.workflow.steps import PHASES

job = Job(snakemake)
folder = os.path.dirname(job.input.config)
gathered = results.gather(
    run=job.params.run,
    comparison=with_assessment(job.read("comparison"), job.read("assessment")),
    access=openings.summarise_openings(job.read("access"), job.params.run, job.input.choice),
    reports={name: job.read(name) for name in ("records", "dedup", "split")},
    best=job.read("best"),
    spots=dict(zip(job.params.seeds, job.read("spots"), strict=True)),
    provenance={
        "commit": commit(),
        "versions": versions(),
        "command": os.environ["REDHEART_COMMAND"],
        "config_sha256": files.sha256_file(job.input.config),
    },
    cost=results.cost(Ledger(os.environ["REDHEART_LEDGER"]).lines(), folder, PHASES),
)
job.write("results", gathered)
