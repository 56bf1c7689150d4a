"""Write down that the frozen choice opens test; whoever reads test needs this log."""

from job import Job

from redheart.selection import openings
from redheart.storage import files

job = Job(snakemake)
# Kept beside the store's entries, by what test holds: results may be deleted, runs renamed.
log = job.store.root / "openings" / f"{files.sha256_file(job.input.test)}.jsonl"
found = openings.record_opening(log, job.params.run, job.input.choice)
job.build(
    lambda folder: files.write_json(folder / "access", found),
    uses={"openings": found},
)
