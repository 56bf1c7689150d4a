"""A source of any format, read item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from source_items import shown

from redheart.data.sources import read_items


@pytest.fixture
def items(tmp_path: Path):
    """Write bytes to a file and read its items; a broken item is read as its reason."""

    def read(content: bytes, name: str = "in.jsonl", **options: Any) -> list[tuple[str, Any]]:
        (tmp_path / name).write_bytes(content)
        return shown(read_items(tmp_path / name, **options))

    return read
