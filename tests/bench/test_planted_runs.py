"""The planted win, small: one real training whose tasks overfit at different times."""

from __future__ import annotations

from dataclasses import replace

import planted_runs
import pytest


@pytest.mark.slow
def test_the_search_finds_a_planted_win():
    plan = replace(planted_runs.WIN, epochs=24, rate=5e-4)
    parts = planted_runs.make_parts(plan, seed=0)
    run = planted_runs.run(plan, parts, seed=0)
    for reference in ("best_single", "greedy_soup"):
        assert planted_runs.difference([run], parts, reference).low > 0
    assert run.found["cost"]["forward_evaluations"] <= 3
    assert run.found["path"]
