"""Write the effective config: every setting of the run, defaults included."""

import json

from redheart.storage import files

files.write_json(snakemake.output.config, json.loads(snakemake.params.config))
