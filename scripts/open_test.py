"""Record that the frozen choice opens test; every rule that reads test needs this log."""

from job import Job

from redheart.selection import openings
from redheart.storage import files

job = Job(snakemake)
# The log lies beside the store's entries, under the hash of test, since results may be deleted and
# runs renamed.
log = job.store.root / "openings" / f"{files.sha256_file(job.input.test)}.jsonl"
access = openings.record_opening(log, job.params.run, job.input.choice)
job.build(
    lambda folder: files.write_json(folder / "access", access),
    uses={"openings": access},
)
