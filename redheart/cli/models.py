"""Commands for a model that shipped."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart import terminal
from redheart.cli.before import add_column
from redheart.errors import UserError

if TYPE_CHECKING:
    from redheart.serving.outputs import Writer
    from redheart.serving.shipped_model import ShippedModel

# The exit code where some texts were left out, as was asked, and all others have their answers.
LEFT_OUT = 3

NOTES = """\
example: redheart predict demo texts.jsonl > answers.jsonl

Input, by name and content: .txt holds lines of plain text, .csv and .tsv tables, all other files
JSON Lines or an array of records, or Parquet. Each record has a `text`; every other field is kept.

Exit codes: 0 every text has its answer; 1 the answers end early, the message says where; 3 some
texts were left out, as --on-error skip asks."""


def add(commands: Any) -> None:
    """Add these commands to the parser's."""
    predict = commands.add_parser(
        "predict",
        help="predict texts with a model that shipped",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", help="a model's folder, a run's folder, or a run's name")
    predict.add_argument(
        "texts", nargs="?", default="", metavar="FILE", help="texts; - reads standard input"
    )
    predict.add_argument(
        "--text",
        action="append",
        default=[],
        type=_text,
        help="a text to predict; may be repeated",
    )
    predict.add_argument(
        "--input-format",
        choices=("json", "csv", "tsv", "plain"),
        help="how the input is read, whatever its name",
    )
    predict.add_argument(
        "--plain",
        action="store_const",
        const="plain",
        dest="input_format",
        help="every line of the input that holds more than white space is a text",
    )
    add_column(predict)
    predict.add_argument(
        "--format",
        choices=("jsonl", "csv", "words"),
        help="how answers are written; default: jsonl, and words for --text at a terminal",
    )
    predict.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about a text that cannot be predicted: stop after the answers for all "
        "texts before it (default, so that no answer is missing unseen), or tell it and skip it",
    )
    predict.set_defaults(run=_predict)

    export = commands.add_parser(
        "export",
        help="write a model that shipped for other programs",
        epilog="example: redheart export results/demo/model my_model --onnx",
    )
    export.add_argument("model", type=Path, help="the folder results/<run>/model")
    export.add_argument("folder", type=Path, help="the folder to make")
    export.add_argument(
        "--onnx", action="store_true", help="also as ONNX, with a script that predicts by it"
    )
    export.set_defaults(run=_export)


def _text(text: str) -> tuple[str]:
    """Wrap a text, since all other words of a command are paths whose `~` is written out."""
    return (text,)


def _predict(arguments: argparse.Namespace) -> int:
    # The workflow sets the same value for training. It must be set before anything imports torch.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from redheart.serving import inputs, prediction
    from redheart.serving.shipped_model import ShippedModel

    if bool(arguments.text) == bool(arguments.texts) and arguments.text:
        raise UserError("predict: name a file or give --text, not both")
    path = arguments.texts or inputs.STANDARD_INPUT
    if not arguments.text and not arguments.texts and sys.stdin and sys.stdin.isatty():
        raise UserError("predict: name a file of texts, - for standard input, or give --text '...'")
    source = inputs.Input(path, arguments.input_format, dict(arguments.column))
    source.refuse_missing()  # before the seconds that it takes to open the model
    model = ShippedModel(arguments.model)
    texts = (
        inputs.from_words([text for (text,) in arguments.text])
        if arguments.text
        else source.texts()
    )
    writer = _writer(arguments, model, source.table_fields)
    skips = arguments.on_error == "skip"
    left_out = prediction.answer_texts(model, texts, writer, sys.stdout, skips)
    return LEFT_OUT if left_out else 0


def _writer(arguments: argparse.Namespace, model: ShippedModel, columns: list[str]) -> Writer:
    from redheart.serving import outputs

    words = arguments.text and sys.stdout.isatty()
    chosen = arguments.format or ("words" if words else "jsonl")
    if chosen == "words":
        return outputs.Words(sys.stdout, model.tasks)
    if chosen == "csv":
        terminal.write_utf8()  # a table has no escapes
        return outputs.Table(sys.stdout, columns)
    return outputs.JsonLines(sys.stdout, is_ascii=not terminal.shows_any_text())


def _export(arguments: argparse.Namespace) -> None:
    from redheart.export.folder import export_model

    for line in export_model(arguments.model, arguments.folder, arguments.onnx):
        print(f"{arguments.folder}: {line}")
