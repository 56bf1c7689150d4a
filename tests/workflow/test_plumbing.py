"""What the fingerprint leaves out has no say: mutants of it change no artefact under its key."""

from __future__ import annotations

import ast
import itertools
import json
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

from redheart.encoding import tokens
from redheart.storage import files, run_files
from redheart.storage.ledger import Ledger
from redheart.tasks.task import parse_tasks
from redheart.workflow import config, fingerprint, steps
from redheart.workflow.fingerprint import PLUMBING, Reference

ROOT = Path(__file__).parents[2]
SECONDS_AT_MOST = 120

# --- the mutants -----------------------------------------------------------------------------


def behind(references):
    """All definitions of the library and of job.py that these lead to, themselves included."""
    reached, waiting = set(), list(references)
    while waiting:
        reference = waiting.pop()
        if reference not in reached and fingerprint.module_path(reference.module):
            reached.add(reference)
            waiting.extend(fingerprint._references(reference))
    return reached


def counted():
    """All definitions that count in some step."""
    roots = [Reference(*root.partition(":")[::2]) for s in steps.STEPS for root in steps.roots(s)]
    reached, waiting = set(), roots
    while waiting:
        reference = waiting.pop()
        if reference not in reached and fingerprint._counts(reference):
            reached.add(reference)
            waiting.extend(fingerprint._references(reference))
    return reached


def changed_constant(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        return True
    return False


def changed_comparison(node):
    if isinstance(node, ast.Compare):
        opposite = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
                    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
                    ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
        node.ops[0] = opposite[type(node.ops[0])]()
        return True
    return False


def changed_argument(node):
    if isinstance(node, ast.Call) and node.args:
        if len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            node.args[:2] = node.args[1::-1]
        else:
            node.args[0] = ast.Constant(None)
        return True
    return False


OPERATORS = (changed_constant, changed_comparison, changed_argument)


def functions(reference):
    """The functions and methods of a definition, by name."""
    tree = ast.parse(fingerprint.module_path(reference.module).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == reference.name:
            yield (node.name,)
        if isinstance(node, ast.ClassDef) and node.name == reference.name:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield node.name, inner.name


def mutated(module, place, operator):
    """The syntax tree of a module with one function changed; None: it has nothing to change."""
    tree = ast.parse(fingerprint.module_path(module).read_text("utf-8"))
    node = tree
    for name in place:
        node = next(inner for inner in node.body if getattr(inner, "name", "") == name)
    inside = (inner for statement in node.body for inner in ast.walk(statement))
    return ast.fix_missing_locations(tree) if any(map(operator, inside)) else None


def mutants():
    """Every mutant; the suite tries one of each module of the list, `make test-full` tries all."""
    of_suite = dict(zip(sorted({r.module for r in PLUMBING}), itertools.cycle(OPERATORS)))
    for reference in sorted(behind(PLUMBING) - counted()):
        for place, operator in itertools.product(functions(reference), OPERATORS):
            if mutated(reference.module, place, operator):
                is_first = of_suite.get(reference.module) == operator
                if is_first:
                    del of_suite[reference.module]
                name = f"{reference.module}:{'.'.join(place)}-{operator.__name__}"
                marks = pytest.mark.slow if is_first else pytest.mark.full
                yield pytest.param(reference.module, place, operator, id=name, marks=marks)


def code_of(holder, place):
    """The object whose `__code__` is run for a function, a method, a property or a manager."""
    *outer, last = place
    for name in outer:
        holder = vars(holder)[name]
    found = vars(holder)[last]
    found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
    return getattr(found, "__wrapped__", found)


@contextmanager
def mutant(module, place, operator):
    """Run the block with one function of a module changed."""
    live = code_of(sys.modules[module.removeprefix("scripts.")], place)
    path, usual = fingerprint.module_path(module), live.__code__
    space = ModuleType(module)
    vars(space)["__file__"] = str(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, space)  # dataclasses look for it there
        tree = mutated(module, place, operator)
        exec(compile(tree, str(path), "exec"), vars(space))
    live.__code__ = code_of(space, place).__code__
    try:
        yield
    finally:
        live.__code__ = usual


# --- a small plan of real scripts, in this process -------------------------------------------


class Plan:
    """The scripts that use plumbing in every way, on a few records; results and a store."""

    def __init__(self, folder, encoded, patch):
        self.folder, self.encoded, self.patch = folder, str(encoded), patch
        self.config = config.effective({"run": "x", "data": {"source": "x"}, **CONFIG})

    def script(self, name, inputs, outputs, wildcards, **params):
        """Run a script as Snakemake would."""
        code = {"settings": steps.parameters(self.config, name), "code": "0"}
        job = SimpleNamespace(
            rule=name,
            input=InputFiles(fromdict=inputs),
            output=OutputFiles(fromdict={k: f"results/x/{v}" for k, v in outputs.items()}),
            wildcards=Wildcards(fromdict=wildcards),
            params=Params(fromdict={**code, **params}),
            log=[f"results/x/logs/{name}.log"],
        )
        path = ROOT / "scripts" / f"{name}.py"
        exec(compile(path.read_text("utf-8"), str(path), "exec"), {"snakemake": job})

    def leg(self, epoch, *before):
        outputs = {
            "weights": run_files.checkpoint(epoch),
            "manifest": run_files.manifest(epoch),
            "steps": run_files.steps(epoch),
            "metrics": run_files.metrics(epoch),
            "opinions": run_files.scored_opinions(epoch),
        }
        kinds = (run_files.checkpoint, run_files.manifest, run_files.metrics)
        parents = [[f"results/x/{kind(e)}" for e in before] for kind in kinds]
        inputs = {
            "train": self.encoded,
            "val_select": self.encoded,
            "trunk": [],
            "best": "best.json",
            **dict(
                zip(("parent_weights", "parent_manifest", "parent_metrics"), parents, strict=True)
            ),
        }
        second = {"settings": steps.parameters(self.config, "evaluate_checkpoint"), "code": "0"}
        of_store = {"snapshot_minutes": 0, "keep_states": [1, 1], "devices": 1}
        more = {"evaluate_checkpoint": second, "memory": self.config["memory"], **of_store}
        self.script("train_leg", inputs, outputs, {"seed": "0", "epoch": epoch}, **more)

    def build_tokenizer(self):
        """Run the first script, which takes no time."""
        self.folder.mkdir(exist_ok=True)
        self.patch.chdir(self.folder)
        files.write_json("config.json", self.config)
        files.write_json("best.json", {"best_learning_rate": 1e-2})
        files.write_json(
            "records.json", [{"id": str(i), "text": f"text {i % 7}"} for i in range(40)]
        )
        for name, value in {
            "REDHEART_STORE": "store",
            "REDHEART_LEDGER": "results/x/ledger.jsonl",
            "REDHEART_CONFIG": "config.json",
        }.items():
            self.patch.setenv(name, value)
        self.script("train_tokenizer", {"train": "records.json"}, {"tokenizer": "t.json"}, {})

    def build(self):
        """Run all scripts."""
        self.build_tokenizer()
        self.leg("001")
        self.leg("002", "001")
        inputs = {"train": self.encoded, "val_select": self.encoded, "trunk": [], "decision": []}
        trial = {"memory": self.config["memory"], "snapshot_minutes": 0, "epochs": [0, 1]}
        rate = {"rate": "0.01", "seed": "0", "rung": ""}
        self.script("sweep_rate", inputs, {"trial": "sweep/trial.json"}, rate, **trial)

    def results(self):
        """Hashes by the step, the ingredients and the output's name, from the store's folder."""
        found = {}
        for path in sorted(Path("store").glob("entries/*/*/entry.json")):
            entry = json.loads(path.read_text("utf-8"))
            for name, sha256 in entry["outputs"].items():
                made_of = files.canonical(entry["ingredients"])
                found[made_of, name] = sha256, files.sha256_file(path.parent / name)
        return found


TASKS = {"topic": {"kind": "multiclass", "field": "topic", "classes": ["a", "b"]}}
CONFIG = {
    "tasks": TASKS,
    "model": {"dimension": 16, "layers": 1, "attention_heads": 2, "feedforward": 32},
    "train": {"epochs": 2, "batch_size": 16, "max_tokens": 16, "device": "cpu", "cpu_threads": 1},
    "sweep": {"epochs": 1},
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    records = [
        {"id": str(i), "text": f"a text of {i} words " * (i % 3 + 1), "topic": "ab"[i % 2]}
        for i in range(24)
    ]
    (folder / "tokenizer.json").write_text(
        tokens.train_tokenizer([record["text"] for record in records], 280), "utf-8"
    )
    part = tokens.encode_part(records, parse_tasks(TASKS), folder / "tokenizer.json", 16)
    tokens.save_encoded(folder / "train.npz", part)
    return folder / "train.npz"


@pytest.fixture
def plan(encoded, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return Plan(tmp_path / "plan", encoded, monkeypatch)


@pytest.fixture(scope="module")
def usual(encoded, tmp_path_factory):
    """The results without a mutant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        patch.setattr(sys, "excepthook", sys.excepthook)
        plan = Plan(tmp_path_factory.mktemp("usual") / "plan", encoded, patch)
        plan.build()
        return plan.results()


def too_long(number, frame):
    raise TimeoutError


def differing(plan, usual, changed):
    """Build with a mutant; return the results that differ under the same key."""
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS_AT_MOST)
    # A mutant may refuse to work. What counts is what lies in the store then.
    with changed, suppress(Exception, SystemExit):
        plan.build()
    signal.alarm(0)
    results = plan.results()
    assert all(told == made for told, made in results.values())
    return {key for key, value in results.items() if value != usual.get(key, value)}


@pytest.mark.parametrize(("module", "place", "operator"), [*mutants()])
def test_a_mutant_of_plumbing_changes_no_result_under_its_key(plan, usual, module, place, operator):
    assert differing(plan, usual, mutant(module, place, operator)) == set()


@pytest.mark.slow
def test_a_mutant_of_what_counts_would_be_seen(plan, usual):
    place = "MovingAverage", "update"
    changed = mutant("redheart.training.optimizer", place, changed_constant)
    assert len(usual) == 12
    assert {name for _, name in differing(plan, usual, changed)} >= {"weights", "manifest"}


def test_without_git_a_job_knows_no_commit(plan):
    plan.patch.setenv("PATH", "")
    plan.build_tokenizer()
    (line,) = Ledger("results/x/ledger.jsonl").lines()
    assert (line["outcome"], line["commit"]) == ("computed", None)


def test_a_job_computes_anew_what_the_environment_names(plan):
    plan.build_tokenizer()
    before = len(Ledger("results/x/ledger.jsonl").lines())
    plan.patch.setenv(steps.ANEW, "fit_lexicon,train_tokenizer")
    plan.build_tokenizer()
    *_, last = Ledger("results/x/ledger.jsonl").lines()
    assert before == 1
    assert (last["outcome"], last["why"]) == ("computed", "REDHEART_ANEW names it")


def test_every_name_of_the_list_ends_a_search():
    assert all(fingerprint.module_path(r.module) for r in PLUMBING)
    needless = PLUMBING - {inner for r in counted() for inner in fingerprint._references(r)}
    assert needless == set()
