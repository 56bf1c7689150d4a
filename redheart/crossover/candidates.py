"""Phase 4: the table of all candidates. A new candidate is a new entry here.

Every file, table and figure lists the candidates in the order of this table.
`config/schemas/results.schema.json` and the table in `docs/crossover.md` repeat the entries; a test
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from redheart.crossover.candidate_sources import (
    OFFSET,
    Candidate,
    Findings,
    Source,
    all_variants,
    at_offset,
    best_epoch,
    each_task_from_its_best,
    each_variant,
    one_epoch,
    own_file,
    single_by_rule,
)
from redheart.json_values import Json
from redheart.storage import run_files
from redheart.tasks.task import Task

BEST_SINGLE = "best_single"
GREEDY_SOUP = "greedy_soup"
# The yardstick of every report: a linear model, which never ships.
BASELINE = "tfidf_linear"
# Ships unless held-out data support another candidate.
DEFAULT = GREEDY_SOUP
# Every candidate is compared with these on test.
REFERENCES = (BEST_SINGLE, GREEDY_SOUP)

CANDIDATES = (
    Candidate(
        "last",
        "the last checkpoint",
        "the last checkpoint",
        one_epoch(lambda findings: int(findings.tables[-1]["epoch"])),
    ),
    Candidate(
        BEST_SINGLE,
        "the best single checkpoint",
        "the checkpoint with the best macro score on val_select",
        one_epoch(lambda findings: best_epoch(findings.tables, "raw")),
    ),
    Candidate(
        "single_by_loss",
        "the best single checkpoint by loss",
        "control: the checkpoint that the rule of `crossover` chooses for all groups at once",
        one_epoch(lambda findings: single_by_rule(findings.spots["groups"])),
    ),
    Candidate(
        "single_by_units",
        "the single checkpoint by units",
        "control: the checkpoint that the rule of `crossover_units` chooses for all at once",
        one_epoch(lambda findings: single_by_rule(findings.spots["units"])),
    ),
    Candidate(
        "ema_last",
        "the last EMA weights",
        "the moving average at the last checkpoint",
        one_epoch(lambda findings: int(findings.tables[-1]["epoch"])),
        of_averages=True,
    ),
    Candidate(
        "ema",
        "the EMA weights",
        "the moving average at its best on val_select",
        one_epoch(lambda findings: best_epoch(findings.tables, "ema")),
        of_averages=True,
    ),
    Candidate(
        "uniform_soup",
        "the uniform soup",
        "the mean of all checkpoints",
        own_file(lambda findings: {"epochs": findings.soups["uniform"]["epochs"]}),
        file=run_files.soup("uniform"),
    ),
    Candidate(
        GREEDY_SOUP,
        "the greedy soup",
        "the mean of checkpoints, best first, each kept unless val_select gets worse",
        own_file(lambda findings: {"epochs": findings.soups["greedy"]["epochs"]}),
        file=run_files.soup("greedy"),
    ),
    Candidate(
        "uniform_soup_ema",
        "the uniform soup of EMA weights",
        "the mean of the moving averages of all checkpoints",
        own_file(lambda findings: {"epochs": findings.soups["uniform_ema"]["epochs"]}),
        file=run_files.soup("uniform_ema"),
        of_averages=True,
    ),
    Candidate(
        "greedy_soup_ema",
        "the greedy soup of EMA weights",
        "as the greedy soup, of the moving averages",
        own_file(lambda findings: {"epochs": findings.soups["greedy_ema"]["epochs"]}),
        file=run_files.soup("greedy_ema"),
        of_averages=True,
    ),
    Candidate(
        "per_task_best",
        "the best checkpoint of each task",
        "several models: every task from the checkpoint that is best at it",
        each_task_from_its_best,
        several_models=True,
    ),
    Candidate(
        "crossover",
        "the crossover",
        "every module group from its own epoch, all stitched into one model",
        own_file(lambda findings: {"epochs": findings.chosen("groups")}),
        file=run_files.stitched("optimal"),
        control="single_by_loss",
    ),
    Candidate(
        "crossover_units",
        "the crossover by units",
        "every unit task x module from the epoch of its own best metric",
        own_file(lambda findings: {"epochs": findings.chosen("units")}),
        file=run_files.stitched("units"),
        control="single_by_units",
    ),
    Candidate(
        "crossover_units_ema",
        "the crossover by units of EMA weights",
        "the same of the moving averages, by their own metrics",
        own_file(lambda findings: {"epochs": findings.chosen("units_ema")}),
        file=run_files.stitched("units_ema"),
        of_averages=True,
    ),
    Candidate(
        "ascent",
        "the ascent",
        "the greedy soup, units exchanged for an epoch's one by one while a task gains",
        own_file(
            lambda findings: {
                "base": findings.search["trunk"]["source"],
                "epochs": dict(findings.search["chosen"]),
            }
        ),
        file=run_files.stitched("ascent"),
        control=GREEDY_SOUP,
    ),
    Candidate(
        f"variant_{OFFSET}",
        "",
        f"the crossover with all epochs shifted by {OFFSET}",
        each_variant,
        file=run_files.variant(OFFSET),
    ),
    Candidate(
        "variants_ensemble",
        "the variants' ensemble",
        "several models: the mean prediction of the variants that differ",
        all_variants,
        several_models=True,
    ),
    Candidate(
        BASELINE,
        "TF-IDF + linear",
        "a linear model per task on TF-IDF; a yardstick that never ships",
        sources=None,
    ),
)

NAMES_IN_WORDS = {candidate.name: candidate.words for candidate in CANDIDATES if candidate.words}
OF_AVERAGES = tuple(candidate.name for candidate in CANDIDATES if candidate.of_averages)
NOTES = {candidate.name: candidate.note for candidate in CANDIDATES}


def sources_of_candidates(
    tasks: Sequence[Task],
    tables: Sequence[Json],
    soups: Mapping[str, Json],
    spots: Json,
    variants: Sequence[Json],
    search: Json,
) -> dict[str, Source]:
    """Return the source of every candidate of a seed: its weights; in the order of the table.

    Candidates of moving averages are left out if the checkpoints hold no averages. The parameters
    are those of `Findings`.
    """
    findings = Findings(tasks, tables, soups, spots, variants, search)
    return {
        name: source
        for candidate in CANDIDATES
        if candidate.sources and (findings.averages or not candidate.of_averages)
        for name, source in candidate.sources(candidate, findings)
    }


def stitched_files(averages: bool, offsets: Iterable[int]) -> list[str]:
    """Return the files below a seed's folder that phase 4 makes for candidates.

    Parameters
    ----------
    averages
        Whether the checkpoints hold moving averages.
    offsets
        The offsets of the variants.
    """
    patterns = [
        candidate.file
        for candidate in CANDIDATES
        if candidate.file and (averages or not candidate.of_averages)
    ]
    offsets = list(offsets)
    return [
        file
        for pattern in patterns
        for file in ([at_offset(pattern, o) for o in offsets] if OFFSET in pattern else [pattern])
    ]
