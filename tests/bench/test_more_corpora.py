"""The corpora made of what others have published: from tiny sources of their formats, and configs."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import more_corpora
import pytest
import yaml

from redheart.workflow import config

BENCH = Path(more_corpora.__file__).parent
NAMES = sorted(more_corpora.CORPORA)

MANUAL = "Number\tName\n03\tnoun.Tops\ttops\n05\tnoun.animal\tanimals\n30\tverb.change\tchanges\n"
NOUNS = """\
  1 This software and database is being provided to you
00001740 03 n 01 entity 0 000 | that which is perceived or known or inferred
00002000 05 n 02 dog 0 domestic_dog 0 001 @ 00001740 n 0000 | a member of the genus Canis; it barks; "the dog barked"
00002001 05 n 01 cat 0 000 | too short a text
"""
VERBS = "00003700 30 v 01 burst 0 000 | come open suddenly and with force  \n"

PACKAGES = """\
Package: foo-tools
Source: foo (1.0)
Installed-Size: 10
Description-md5: 2
Section: utils

Package: foo
Installed-Size: 1000
Description-md5: 1
Tag: implemented-in::c, role::program,
 uitoolkit::gtk
Section: sound

Package: games-all
Installed-Size: 9
Description-md5: 3
Section: games

Package: bar
Installed-Size: 0
Description-md5: 4
Section: games

Package: libbar
Source: bar
Installed-Size: 7
Description-md5: 5
Section: libs
"""
DESCRIPTIONS = """\
Package: foo
Description-md5: 1
Description-en: Player of music
 It plays what
 you like.
 .
 Loudly.

Package: foo-tools
Description-md5: 2
Description-en: Tools

Package: games-all
Description-md5: 3
Description-en: All of the many games

Package: bar
Description-md5: 4
Description-en: Game of chance for two or more
"""


def made(name: str, folder: Path, monkeypatch) -> list[dict]:
    """Run the script on a folder and return its records, sorted by id."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["more_corpora.py", name, str(folder)])
    more_corpora.main()
    lines = (folder / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda record: record["id"])


def test_posts_lose_the_names_of_the_groups(tmp_path, monkeypatch):
    post = "re gods in alt atheism and talk politics misc writes graphics " + "x" * 2000
    for part, group in (("train", "alt.atheism"), ("test", "sci.med")):
        head = "Category\tText\nd\tstring\nclass\t\n\n"
        (tmp_path / f"20newsgroups-{part}.tab").write_text(
            f"{head}{group}\t{post}\n{group}\tshort\n"
        )
    text = ("re gods in and writes graphics " + "x" * 2000)[:1000]
    assert made("newsgroups", tmp_path, monkeypatch) == [
        {"id": "test-5", "text": text, "group": "sci.med"},
        {"id": "train-5", "text": text, "group": "alt.atheism"},
    ]


def test_definitions_come_without_examples_and_of_the_files_that_the_config_lists(
    tmp_path, monkeypatch
):
    (tmp_path / "man" / "man5").mkdir(parents=True)
    (tmp_path / "wordnet").mkdir()
    (tmp_path / "man" / "man5" / "lexnames.5WN.gz").write_bytes(gzip.compress(MANUAL.encode()))
    for part, lines in (("noun", NOUNS), ("verb", VERBS)):
        (tmp_path / "wordnet" / f"data.{part}").write_text(lines)
    dog, burst = "a member of the genus Canis; it barks", "come open suddenly and with force"
    assert made("glosses", tmp_path, monkeypatch) == [
        {"id": "noun-00002000", "text": dog, "file": "noun.animal"},
        {"id": "verb-00003700", "text": burst, "file": "verb.change"},
    ]


def test_a_source_gives_one_package_whose_name_does_not_tell_its_section(tmp_path, monkeypatch):
    (tmp_path / "Packages").write_text(PACKAGES)
    (tmp_path / "Translation-en").write_text(DESCRIPTIONS)
    game = "Game of chance for two or more"
    music = "Player of music\nIt plays what you like.\nLoudly."
    tags = ["implemented-in::c", "uitoolkit::gtk"]
    assert made("packages", tmp_path, monkeypatch) == [
        {"id": "bar", "text": game, "section": "games", "log_size": 0.0},
        {"id": "foo", "text": music, "section": "sound", "log_size": 3.0, "tags": tags},
    ]


def test_a_sample_is_of_so_many_of_each_class_and_the_same_again():
    records = [{"text": "t" * 30, "of": "ab"[i % 3 == 0], "id": i} for i in range(30)]
    one, again, other = (
        more_corpora.sample(list(records), "of", 7, random.Random(seed)) for seed in (0, 0, 1)
    )
    assert one == again != other
    assert sorted(record["of"] for record in one) == ["a"] * 7 + ["b"] * 7


@pytest.mark.parametrize("name", NAMES)
def test_the_configs_are_those_of_vader_but_for_the_corpus(name):
    own, vader = (yaml.safe_load((BENCH / f"{n}.yaml").read_text("utf-8")) for n in (name, "vader"))
    about_the_corpus = ("run", "stratify_by", "data", "tasks")
    assert {own.pop(key) and key for key in about_the_corpus} == set(about_the_corpus)
    assert own == {key: value for key, value in vader.items() if key not in about_the_corpus}
    checked = config.read([BENCH / f"{name}.yaml", BENCH.parent / "config" / "minilm.yaml"])
    assert checked["data"]["source"] == f"data/{name}.jsonl"
    assert checked["model"]["pretrained"] and checked["model"]["freeze_after"] == 0
