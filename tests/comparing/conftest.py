"""Tiny runs, written by hand, in a working folder of their own."""

from __future__ import annotations

import pytest
from comparison_runs import Maker, make_records


@pytest.fixture
def maker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Maker(tmp_path)


@pytest.fixture
def parts():
    return make_records()
