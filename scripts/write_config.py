"""Write the effective config: every setting of the run, defaults included."""

import json

from job import Job

job = Job(snakemake)
job.write("config", json.loads(job.params.config))
