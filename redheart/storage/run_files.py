"""The names of a run's files: where each lies below the run's folder, `results/<run>/`.

The functions take a text in place of a number too, so that a rule can pass a wildcard, and a search
can pass a star.
"""

from __future__ import annotations

from pathlib import Path

from redheart.errors import UserError, did_you_mean

RESULTS = "results"
CONFIG = "config.json"
LEDGER = "ledger.jsonl"
ARTEFACTS = "artefacts.json"
HASHES = "hashes.json"
LOGS = ("logs", "benchmarks")
# Names in the run's folder that hold no artefacts: diaries, and what `redheart tensorboard` writes.
NO_ARTEFACTS = (LEDGER, ARTEFACTS, HASHES, *LOGS, "tensorboard")
TOKENIZER = "data/tokenizer.json"
LEXICON = "data/lexicon.npz"
SCALES = "data/scales.json"
SUSPECTS = "suspects.json"

# The files of a pretrained trunk, which brings its own tokenizer. The folder of a model that ships
# holds the first two under the same names.
TRUNK_CONFIG = "trunk/config.json"
TRUNK_WEIGHTS = "trunk/weights.pt"
TRUNK_TOKENIZER = "trunk/tokenizer.json"


def records(part: str) -> str:
    """Return the file of the records of a part."""
    return f"data/split/{part}.json"


def encoded(part: str) -> str:
    """Return the file of the texts of a part as token ids."""
    return f"data/encoded/{part}.npz"


def features(part: str) -> str:
    """Return the file of a frozen trunk's features of the texts of a part."""
    return f"data/features/{part}.npz"


def seed_folder(seed: int | str) -> str:
    """Return the folder of a training seed."""
    return f"seed_{seed}"


def seed_of(path: str | Path) -> str:
    """Return the seed of a file that lies directly in a seed's folder, given its path."""
    return Path(path).parent.name.removeprefix(seed_folder(""))


def find_run(name: str) -> Path:
    """Return the folder of a run, given the folder or the run's name.

    Raises
    ------
    UserError
        There is no such folder.
    """
    places = Path(name), Path(RESULTS, name)
    runs = [place for place in places for file in (LEDGER, CONFIG) if (place / file).is_file()]
    for place in (*runs, *places):
        if place.is_dir():
            return place
    known = sorted(path.parent.name for path in Path(RESULTS).glob(f"*/{CONFIG}"))
    raise UserError(
        f"{name}: no such run; name a run's folder, such as results/demo, or the run"
        f"{did_you_mean(name, known, 'runs')}"
    )


# --- below the folder of a seed: the files of legs, and those of phase 4 -------------------------


def epoch_of(path: Path) -> int:
    """Return the epoch in the name of a checkpoint's file."""
    return int(path.stem.rpartition("_")[2])


def epoch_in_name(epoch: int | str) -> str:
    """Return an epoch as file names hold it: with three digits, and more from 1000 on."""
    return epoch if isinstance(epoch, str) else f"{epoch:03d}"


def checkpoint(epoch: int | str) -> str:
    """Return the file of a checkpoint's weights."""
    return f"ckpt/epoch_{epoch_in_name(epoch)}.pt"


def manifest(epoch: int | str) -> str:
    """Return the file of a checkpoint's manifest."""
    return f"ckpt/epoch_{epoch_in_name(epoch)}.json"


def steps(epoch: int | str) -> str:
    """Return the file of the optimizer steps of the leg that ends with an epoch."""
    return f"ckpt/steps_{epoch_in_name(epoch)}.jsonl"


def metrics(epoch: int | str) -> str:
    """Return the file of a checkpoint's table."""
    return f"ckpt/metrics_{epoch_in_name(epoch)}.json"


def scored_opinions(epoch: int | str) -> str:
    """Return the file of what a checkpoint says about the records that its evaluation scored."""
    return f"ckpt/opinions_{epoch_in_name(epoch)}.npz"


def opinions(epoch: int | str) -> str:
    """Return the file of what it says about the other records of train, and about val_confirm."""
    return f"opinions/epoch_{epoch_in_name(epoch)}.npz"


def opinions_on_test(epoch: int | str) -> str:
    """Return the file of what it says about test."""
    return f"opinions/test_{epoch_in_name(epoch)}.npz"


def soup(name: str) -> str:
    """Return the file of a soup's weights."""
    return f"soups/{name}.pt"


def stitched(name: str) -> str:
    """Return the file of a crossover's weights."""
    return f"crossover/{name}.pt"


def variant(offset: int | str) -> str:
    """Return the file of the weights of the variant at an offset."""
    return f"variants/offset_{offset}.pt"


def variant_recipe(offset: int | str) -> str:
    """Return the file of the recipe of the variant at an offset."""
    return f"variants/offset_{offset}.json"
