"""Commands for a model that shipped."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from redheart import terminal
from redheart.errors import UserError


def add(commands: Any) -> None:
    """Add these commands to the parser's."""
    predict = commands.add_parser("predict", help="predict texts with a model that shipped")
    predict.add_argument("model", type=Path, help="the folder results/<run>/model")
    predict.add_argument("texts", help="JSON Lines with a `text` each; - reads standard input")
    predict.set_defaults(run=_predict)

    export = commands.add_parser("export", help="write a model that shipped for other programs")
    export.add_argument("model", type=Path, help="the folder results/<run>/model")
    export.add_argument("folder", type=Path, help="the folder to make")
    export.add_argument(
        "--onnx", action="store_true", help="also as ONNX, with a script that predicts by it"
    )
    export.set_defaults(run=_export)


def _predict(arguments: argparse.Namespace) -> None:
    from redheart.selection.shipped_model import ShippedModel, model_folder

    model = ShippedModel(model_folder(arguments.model))
    lines = _content(arguments.texts).split(b"\n")
    texts = [_text(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    for prediction in model.predict(texts) if texts else ():
        print(json.dumps(prediction, ensure_ascii=not terminal.shows_any_text()))


def _content(path: str) -> bytes:
    """Return the bytes of a file, or of standard input for a dash."""
    from redheart.storage.files import unreadable

    if path == "-" and sys.stdin is None:
        raise UserError("standard input is closed; name a file of texts")
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def _text(line: bytes, number: int) -> str:
    from redheart.data.sources import parse_line

    try:
        text = str(parse_line(line)["text"].encode(), "utf-8")
        if text.strip():
            return text
        reason = "the text is empty"
    except UnicodeEncodeError:
        reason = "the text holds half a character (a lone surrogate)"
    except (KeyError, TypeError, AttributeError):
        reason = "no text there"
    except ValueError as error:
        reason = str(error)
    raise UserError(f'line {number}: {reason}; expected a JSON object, {{"text": "..."}}')


def _export(arguments: argparse.Namespace) -> None:
    from redheart.export.folder import export_model

    for line in export_model(arguments.model, arguments.folder, arguments.onnx):
        print(f"{arguments.folder}: {line}")
