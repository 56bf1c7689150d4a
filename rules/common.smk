# The config, checked before any rule exists, and what all rules share: paths, lists, parameters.
import atexit
import os
import shlex
import sys
import tempfile
from functools import cache
from pathlib import Path

from redheart.data.sources import input_files
from redheart.encoding import sentences, trunk
from redheart.errors import UserError
from redheart.recipe.build import build
from redheart.recipe.training_options import LegOptions, checkpoint_epochs
from redheart.storage import artefacts, files, run_files
from redheart.storage.hashes import Hashes
from redheart.storage.ledger import Ledger
from redheart.storage.store import Store
from redheart.workflow import config as settings
from redheart.workflow import steps

if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


try:
    CONFIG = settings.effective(config, workflow.configfiles)
except UserError as error:
    sys.exit(f"error: the config cannot be used\n{error}")

if workflow.is_main_process:
    try:
        steps.check_forced(steps.anew(os.environ.get(steps.ANEW, "")), sys.argv)
        steps.check_remembered(sys.argv)
    except UserError as error:
        sys.exit(f"error: {error}")

RUN = f"results/{CONFIG['run']}"
STORE = Store(CONFIG["store"]["path"])
HASHES = Hashes(f"{RUN}/{run_files.HASHES}")
# Whether this process will make files: no dry run, no job of a run, no question about the plan.
MAKES = (
    workflow.is_main_process
    and not workflow.output_settings.dryrun
    and bool(workflow.resource_settings.cores or workflow.resource_settings.nodes)
)


def begin():
    """Wait for whoever works on this run; then put right what is not as its step made it.

    The content of a file decides what is made from it, and its time stamp does not. So the files of
    the run are put right here, before Snakemake looks at their time stamps.

    Returns
    -------
    The lock on the run, to be held until this process ends.
    """
    lock = None
    if MAKES:
        lock = STORE.locked(artefacts.run_id(RUN), f"works on {RUN}")
        lock.__enter__()
        made = artefacts.Artefacts(RUN, artefacts.WITNESSES)
        made.recall(STORE)
        lines = [made.lost(), *made.put_right(STORE, HASHES), made.dismiss_strangers(STORE)]
        HASHES.save()
    else:
        made = artefacts.Artefacts(RUN, artefacts.WITNESSES)
        changed = made.changed(HASHES) if workflow.is_main_process else ()
        lines = [f"{RUN}/{n}: is not as its step made it; a run puts it right first" for n in changed]
        if workflow.is_main_process and (count := len(made.strangers())):
            lines.append(f"{RUN}: {count} files were not made here; a run sees to them first")
    for line in filter(None, lines):
        print(line, file=sys.stderr)
    return lock


try:
    RUN_LOCK = begin()
except UserError as error:
    sys.exit(f"error: {error}")

SOURCE = []
if CONFIG["data"]["source"] != "demo":
    try:
        SOURCE = input_files(CONFIG["data"]["source"])
    except UserError as error:
        sys.exit(f"error: data.source: {error}; name your corpus, or `demo`")

CORRECTIONS = []
if CONFIG["data"]["corrections"]:
    try:
        CORRECTIONS = input_files(CONFIG["data"]["corrections"])
    except UserError as error:
        sys.exit(f"error: data.corrections: {error}; `redheart review` writes it")

# The files from outside that the records are read from.
READ = {"source": SOURCE, "corrections": CORRECTIONS}
READ = {name: paths for name, paths in READ.items() if paths}

KEPT = []
if CONFIG["split"]["keep"]:
    try:
        KEPT = input_files(CONFIG["split"]["keep"])
    except UserError as error:
        sys.exit(f"error: split.keep: {error}; `redheart parts` writes it")

# A pretrained trunk brings its own tokenizer. If the trunk learns, training reads its weights from
# the run's folder. If it is frozen, training reads only its features of the texts.
PRETRAINED = CONFIG["model"]["pretrained"]
FROZEN = CONFIG["model"]["freeze_after"] == 0
SENTENCES = PRETRAINED == sentences.ENCODER
TRUNK_SOURCE = []
if PRETRAINED:
    try:
        TRUNK_SOURCE = trunk.source_files(PRETRAINED)
    except UserError as error:
        sys.exit(f"error: model.pretrained: {error}")
try:
    settings.check_names([*SOURCE, *CORRECTIONS, *KEPT, *TRUNK_SOURCE])
except UserError as error:
    sys.exit(f"error: {error}")

TRUNK = {"trunk_config": run_files.TRUNK_CONFIG, "trunk_weights": run_files.TRUNK_WEIGHTS}
LEARNING_TRUNK = [f"{RUN}/{file}" for file in TRUNK.values() if PRETRAINED and not FROZEN]
TOKENIZER = f"{RUN}/{run_files.TRUNK_TOKENIZER if PRETRAINED else run_files.TOKENIZER}"
ENCODED = f"{RUN}/data/features" if FROZEN else f"{RUN}/data/encoded"

# The targets of regressions are learned without their unit. Without a regression there is no scale.
HAS_REGRESSION = any(task["kind"] == "regression" for task in CONFIG["tasks"].values())
SCALES = {"scales": f"{RUN}/{run_files.SCALES}"} if HAS_REGRESSION else {}

PARTS = ["train", "val_select", "val_confirm", "test"]
SHARDS = CONFIG["dedup"]["shards"]
SEEDS = CONFIG["seeds"]
RATES = [str(float(rate)) for rate in CONFIG["sweep"]["learning_rates"]]
EPOCHS = [run_files.epoch_in_name(e) for e in checkpoint_epochs(build(LegOptions, CONFIG["train"]))]
OFFSETS = CONFIG["crossover"]["offsets"]
CODES = steps.codes(STORE)

# Jobs inherit these variables. As parameters of the rules they would needlessly invalidate results.
# GOMP_SPINCOUNT sets how long a waiting thread spins: see docs/decisions/005-threads.md.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ["REDHEART_STORE"] = CONFIG["store"]["path"]
os.environ["REDHEART_LEDGER"] = f"{RUN}/{run_files.LEDGER}"
# The config goes through a file, since a variable holds 128 kB at most. Figures are never shown on
# a screen, and a notebook's choice of a backend would stop the report.
CONFIG_COPY = Path(tempfile.mkstemp(prefix="redheart-", suffix=".json")[1])
atexit.register(CONFIG_COPY.unlink, missing_ok=True)
files.write_json(CONFIG_COPY, CONFIG)
os.environ["REDHEART_CONFIG"] = str(CONFIG_COPY)
os.environ["MPLBACKEND"] = "agg"
os.environ["REDHEART_COMMAND"] = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


wildcard_constraints:
    part="|".join(PARTS),
    shard=r"\d+",
    seed=r"\d+",
    epoch=r"\d\d\d+",
    offset=r"-?\d+",
    rate=r"[0-9.e+-]+",


def checkpoints(file):
    """A seed's files of one kind for all checkpoints, in the order of their epochs."""
    return [f"{RUN}/seed_{{seed}}/{file(epoch)}" for epoch in EPOCHS]


def as_is(value):
    """A function that returns a value: Snakemake takes {word} and <word> in a text for its own."""
    return lambda wildcards: value


@cache
def also_shared(step):
    """The parameters of the second step of a rule, as one parameter."""
    return {"settings": steps.parameters(CONFIG, step), "code": CODES[step]}


def shared(step):
    """The parameters of every rule: its own settings and the fingerprint of its code."""
    return {name: as_is(value) for name, value in also_shared(step).items()}


def outside(**paths):
    """The parameter of a rule that reads files from outside: paths by name, and their hashes.

    As inputs, they would be judged by their time stamps.
    """
    every = [p for value in paths.values() for p in ([value] if isinstance(value, str) else value)]
    try:
        hashes = [HASHES.of(path) for path in every]
        if MAKES:
            HASHES.save()
    except OSError as error:
        sys.exit(f"error: {error.filename}: cannot be read ({error.strerror}); allow it with chmod")
    except UserError as error:
        sys.exit(f"error: {error}")
    return as_is({"paths": paths, "sha256": hashes})


def every_artefact(wildcards):
    return [
        f"{RUN}/config.json",
        *rules.dedupe.input,
        *rules.split.input,
        *rules.sweep.input,
        *rules.train.input,
        *rules.sweet_spots.input,
        *rules.crossover.input,
        *rules.evaluate.input,
        *rules.suspects.input,
        *rules.report.input,
    ]


def look_again():
    """At the end of a run: remember the hashes of its files, and name what is no longer planned."""
    made, hashes = artefacts.Artefacts(RUN), Hashes(HASHES.path)
    if any(job.rule.name == "all" for job in workflow.dag.jobs):
        planned = (f for job in workflow.dag.jobs for f in [*job.output, *job.log, job.benchmark])
        made.compare_with_plan(map(str, filter(None, planned)), STORE)
    made.changed(hashes)
    hashes.save()
    for line in filter(None, [made.lost() if made.not_recorded else "", made.no_longer_planned()]):
        print(line, file=sys.stderr)


def say_results():
    """Print at the end, of the model that ships and of the report, what the call was asked for."""
    asked_for = {job.rule.name for job in workflow.dag.jobs}
    if {"write_results", "ship_model"} <= asked_for:
        content = files.read_json(f"{RUN}/final_results.json")
        name = content["shipped"]["candidate"]
        macro = content["candidates"][name]["test"]["macro"]
        print(f"{name} ships (macro {macro:.3f} on test): {RUN}/model/", file=sys.stderr)
    if "make_report" in asked_for:
        lines = Ledger(f"{RUN}/{run_files.LEDGER}").lines()
        made = [n["seconds"] for n in lines if (n["step"], n["outcome"]) == ("make_report", "computed")]
        # The cost in final_results.json is older than the report.
        took = f" (made in {made[-1]:.0f} s; the ledger has the seconds of every step)" if made else ""
        print(f"the whole story: {RUN}/report.html{took}", file=sys.stderr)


rule write_config:
    output:
        config=f"{RUN}/config.json",
    log:
        f"{RUN}/logs/write_config.log",
    params:
        **shared("write_config"),
        config=as_is(files.canonical(CONFIG)),
    script:
        "../scripts/write_config.py"
