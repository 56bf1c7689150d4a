"""Find the best epoch of each module group and of each unit."""

from job import Job

from redheart.recipe import groups
from redheart.recipe.build import build
from redheart.storage import files
from redheart.sweet_spots.choice import SweetSpotOptions, find_sweet_spots
from redheart.sweet_spots.units import find_unit_spots

job = Job(snakemake)
frozen = groups.trunk_is_frozen(job.read("manifests"))


def compute(folder):
    tables = job.read("metrics")
    options = build(SweetSpotOptions, job.settings["sweet_spots"])
    modules = tables[0]["parameters"]
    spots = find_sweet_spots(tables, groups.groups(modules), options)
    spots |= find_unit_spots(tables, groups.units(modules, frozen), options)
    files.write_json(folder / "spots", spots)


job.build(compute, uses={**job.content("metrics"), "frozen_trunk": frozen})
