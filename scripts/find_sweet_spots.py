"""Find the best epoch of each module group and of each unit."""

from job import Job, manifests_by_epoch

from redheart import files, groups, sweet_spots, unit_spots
from redheart.options import build

job = Job(snakemake)
frozen = groups.trunk_is_frozen(manifests_by_epoch(job.input.manifests).values())


def compute(folder):
    tables = [files.read_json(path) for path in job.input.metrics]
    options = build(sweet_spots.SweetSpotOptions, job.settings["sweet_spots"])
    modules = tables[0]["parameters"]
    spots = sweet_spots.find_sweet_spots(tables, groups.groups(modules), options)
    spots |= unit_spots.find_unit_spots(tables, groups.units(modules, frozen), options)
    files.write_json(folder / "spots", spots)


job.build(compute, uses={**job.content("metrics"), "frozen_trunk": frozen})
