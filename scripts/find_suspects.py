"""Name the records whose labels look wrong to the checkpoints of all seeds."""

from job import Job

from redheart.storage import files
from redheart.suspects.naming import as_csv, find_suspects
from redheart.tasks import scale
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    content, rows = find_suspects(
        parse_tasks(job.settings["tasks"]),
        job.read("maps"),
        job.params.seeds,
        {part: job.read(part) for part in job.params.parts},
        scale.from_json(job.optional("scales", {})),
        job.settings["data_map"]["false_discovery_rate"],
    )
    files.write_json(folder / "suspects", content)
    files.write_text(folder / "table", as_csv(rows))


names = [name for name, _ in job.input.items() if name != "access"]
job.build(compute, uses=job.content(*names), extra={"seeds": job.params.seeds})
