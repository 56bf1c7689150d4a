"""Map every record by what all checkpoints of a seed say about its labels."""

from job import Job

from redheart.storage import files
from redheart.suspects.mapping import make_map
from redheart.tasks.task import parse_tasks

job = Job(snakemake)
parts = job.params.parts


def compute(folder):
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import opinions

    paths = zip(job.input.scored, job.input.judged, job.input.on_test, strict=True)
    content = make_map(
        parse_tasks(job.settings["tasks"]),
        {part: [r["id"] for r in job.read(f"{part}_records")] for part in parts},
        {part: load_encoded(job.input[part]).targets for part in parts},
        [opinions.load(*of_checkpoint) for of_checkpoint in paths],
    )
    files.write_json(folder / "map", content)


names = [name for name, _ in job.input.items() if name != "access"]
job.build(compute, uses=job.content(*names))
