"""The demo corpus: small stories, English and Korean, whose labels and flaws are known.

Four latent factors (agent, act, motive, outcome) determine the five labels of a story. Near
copies, wrong verdicts, missing labels and noisy targets are planted; the truth names them. Scores
on the corpus show that the machinery works; they mean nothing about ethics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.random import Generator
from rapidfuzz import fuzz, process

from redheart.errors import UserError
from redheart.limits import LARGEST_SEED, AtLeast, AtMost
from redheart.tasks import metrics
from redheart.tasks.task import Task, target_matrix

Record = dict[str, Any]
Factors = Mapping[str, str]  # the level of each key of FACTORS
Grammar = Mapping[str, str]  # alternatives of each symbol; braces name a further symbol

# fmt: off
EMOTIONS = ("joy", "anger", "surprise", "disgust", "sadness", "shame", "fear")
BENTHAM = ("intensity", "duration", "certainty", "propinquity")
SURD = ("selection", "uncertainty", "risk", "decision")
VERDICTS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
TASKS = (
    Task("emotion", "distribution", "emotions", EMOTIONS),
    Task("bentham", "regression", "bentham_scores", BENTHAM),
    Task("regret", "regression", "regret_factor"),
    Task("surd", "regression", "surd_metrics", SURD),
    Task("verdict", "multiclass", "label", VERDICTS),
)

# Standard deviation of the noise on a field. A network can only memorise noise: the validation
# loss of the noisy tasks turns early. Of tasks with hardly any noise it falls to the very end.
NOISE = {"regret_factor": 0.3, "bentham_scores": 0.1}

# The defaults of the split's audit and of the removal, as fuzz.ratio (0 to 100).
DISTINCT_BELOW, DUPLICATE_FROM = 80.0, 92.0
CONFLICT_SHARE = 0.25  # share of the planted copies whose verdict differs from the original's
ATTEMPTS = 1000  # texts tried for one story before the corpus counts as full

# Each level's share and its value from 0 to 1: how near the agent is to the author, how grave the
# act is, how much good will is in the motive, how much harm in the outcome.
FACTORS: dict[str, dict[str, tuple[float, float]]] = {
    "agent": {"coworker": (0.24, 0), "friend": (0.24, 0.4), "relative": (0.22, 0.6),
              "both": (0.08, 0.8), "me": (0.22, 1)},
    "act": {"treat": (0.18, 0), "late": (0.18, 0.2), "loan": (0.18, 0.4), "quarrel": (0.1, 0.6),
            "promise": (0.18, 0.8), "secret": (0.18, 1)},
    "motive": {"greed": (0.25, 0), "panic": (0.2, 0.3), "unclear": (0.1, 0.5),
               "careless": (0.25, 0.7), "kindness": (0.2, 1)},
    "outcome": {"happy": (0.2, 0), "harmless": (0.25, 0.3), "hurt": (0.3, 0.7), "loss": (0.25, 1)},
}

ENGLISH: Grammar = {
    "scene": "{time} at the {place} {agent} {act}. | {time} {agent} {act} at the {place}. | "
             "at the {place} {agent} {act} {time}. | {agent} {act} at the {place} {time}.",
    "coworker": "my coworker {name} | my colleague {name} | {name} from the office",
    "friend": "my friend {name} | my best friend {name} | {name}, an old friend,",
    "relative": "my cousin {name} | my brother {name} | my sister {name}",
    "both": "both {name} and I | {name} and I both", "me": "I | I myself | I alone",
    "treat": "ate the last slice of cake | finished the shared pie | emptied the cookie jar",
    "late": "came an hour late | kept everybody waiting | arrived long after the agreed time",
    "loan": "took a bike without asking | borrowed a coat unasked | used a laptop unasked",
    "quarrel": "started a quarrel | began a noisy quarrel | picked a quarrel with a guest",
    "promise": "broke a promise | went back on a promise | let a promise slide",
    "secret": "told a secret | gave away a secret | passed on a confidence",
    "greed": "It was done out of greed. | The motive was selfish gain. | It was pure selfishness.",
    "panic": "Panic was behind it. | It was done for fear of blame. | Worry was behind it.",
    "unclear": "The reason is unknown. | Nobody knows the reason. | The reason remains a mystery.",
    "careless": "It was mere carelessness. | That was an oversight. | It was an honest slip.",
    "kindness": "It was meant kindly. | The idea was to help. | It was a kind attempt to help.",
    "happy": "Everyone laughed later. | It ended with smiles. | It turned out wonderfully.",
    "harmless": "Nothing bad came of it. | No harm was done. | It made no difference.",
    "hurt": "Someone left in tears. | Feelings were badly hurt. | A heart was broken.",
    "loss": "A lot of money was lost. | Something costly got broken. | The bill was huge.",
    "aside": "It had rained since {hour}. | The bus left at {hour}. | Who is to blame here? | "
             "It smelled of {food}. | Later there was {food}. | A {thing} lay by the door. | "
             "Everybody knew by {hour}. | A {thing} was missing. | What do you think?",
    "name": "Alex | Sam | Robin | Jamie | Charlie | Taylor | Jordan | Morgan | Casey | Riley | Kit",
    "time": "last Tuesday | this morning | on Sunday | two weeks ago | in early spring | yesterday",
    "place": "library | bakery | gym | bus stop | park | market | campsite | museum | cinema",
    "hour": "six | noon | three | dusk", "food": "bread | onion soup | lemon tea | popcorn",
    "thing": "red scarf | candle | violin | balloon | suitcase | grey notebook | basket",
}

KOREAN: Grammar = {  # each name ends in a vowel, so that 가 and 와 fit; 도 fits after any word
    "scene": "{time} {place}에서 {agent} {act}. | {place}에서 {agent} {time} {act}.",
    "coworker": "직장 동료 {name}가 | 회사 선배 {name}가 | 같은 부서 {name}가",
    "friend": "친구 {name}가 | 오랜 친구 {name}가 | 단짝 {name}가",
    "relative": "동생 {name}가 | 사촌 {name}가 | 우리 집 막내 {name}가",
    "both": "나와 {name} 둘이서 | {name}와 내가 함께", "me": "내가 | 나 자신이 | 다름 아닌 내가",
    "treat": "남은 케이크를 다 먹었다 | 같이 먹을 파이를 해치웠다 | 과자 통을 비웠다",
    "late": "한 시간이나 늦었다 | 모두를 한참 기다리게 했다 | 크게 지각했다",
    "loan": "말없이 자전거를 가져갔다 | 묻지 않고 외투를 빌렸다 | 허락 없이 노트북을 썼다",
    "quarrel": "말다툼을 벌였다 | 큰 소리로 말다툼을 했다 | 손님과 말다툼을 시작했다",
    "promise": "약속을 어겼다 | 약속을 지키지 않았다 | 굳은 약속을 저버렸다",
    "secret": "비밀을 털어놓았다 | 남의 비밀을 퍼뜨렸다 | 들은 비밀을 말해 버렸다",
    "greed": "오로지 욕심 때문이었다. | 제 잇속만 차린 일이었다. | 이기심에서 한 일이었다.",
    "panic": "혼날까 봐 겁이 나서였다. | 놀림받을까 두려웠던 것이다. | 불안해서 그랬다고 한다.",
    "unclear": "이유는 아무도 모른다. | 이유를 알 길이 없다. | 이유는 밝혀지지 않았다.",
    "careless": "그저 깜빡한 탓이었다. | 부주의한 실수였다. | 방심해서 생긴 일이었다.",
    "kindness": "남을 도우려는 뜻이었다. | 좋은 뜻으로 한 일이었다. | 도우려던 것이었다.",
    "happy": "나중에 다 같이 웃었다. | 오히려 모두 즐거워했다. | 뜻밖에 잘 풀려 다들 기뻐했다.",
    "harmless": "별다른 피해는 없었다. | 아무 탈 없이 지나갔다. | 달라진 것은 없었다.",
    "hurt": "누군가 울면서 집에 갔다. | 여럿이 마음을 다쳤다. | 깊은 상처가 남았다.",
    "loss": "결국 큰돈을 잃었다. | 비싼 물건이 망가졌다. | 손해가 십만 원을 넘었다.",
    "aside": "{hour}부터 비가 내렸다. | 버스는 {hour}에 떠났다. | {food} 냄새가 났다. | "
             "나중에 {food}도 나눠 먹었다. | 문 앞에는 {thing}도 놓여 있었다. | 누구 잘못일까? | "
             "{hour}에는 모두 알고 있었다. | {thing}도 보이지 않았다. | 어떻게 생각하는가?",
    "name": "민수 | 현우 | 준호 | 나래 | 지우 | 은서 | 태오 | 유나 | 도하 | 소희 | 진아 | 다미",
    "time": "지난 화요일 | 오늘 아침 | 일요일 오후 | 두 주 전 | 이른 봄날 | 어제저녁 | 비 오던 날",
    "place": "도서관 | 동네 빵집 | 체육관 | 버스 정류장 | 공원 | 시장 | 캠핑장 | 박물관 | 영화관",
    "hour": "여섯 시 | 정오 | 세 시 | 해 질 녘", "food": "식빵 | 양파 수프 | 포도 | 갓 튀긴 팝콘",
    "thing": "빨간 목도리 | 양초 | 바이올린 | 풍선 | 여행 가방 | 회색 공책 | 바구니",
}
# fmt: on


@dataclass(frozen=True)
class CorpusOptions:
    """The generated demo corpus."""

    records: Annotated[int, AtLeast(1), AtMost(1_000_000)] = 700
    """Number of records, planted copies included."""
    duplicates: Annotated[float, AtLeast(0), AtMost(0.5)] = 0.06
    """Share of the records that are near copies of other ones."""
    label_noise: Annotated[float, AtLeast(0), AtMost(1)] = 0.1
    """Share of the originals' verdicts that are replaced by another."""
    target_noise: Annotated[float, AtLeast(0), AtMost(1_000)] = 1.0
    """Factor on the noise of the numeric targets."""
    korean: Annotated[float, AtLeast(0), AtMost(1)] = 0.4
    """Share of the originals that are in Korean."""
    missing: Annotated[float, AtLeast(0), AtMost(1)] = 0.03
    """Share of the originals that lack a label, for each task by itself."""
    seed: Annotated[int, AtLeast(0), AtMost(LARGEST_SEED)] = 0
    """Seed of everything that is drawn."""


def generate(options: CorpusOptions) -> tuple[list[Record], dict[str, Any]]:
    """Write the corpus and the truth about it.

    Returns
    -------
    records : in the user's format; a copy always stands behind its original.
    truth : `duplicates`, the planted pairs with their similarity (0 to 1); `noisy`, the originals
        whose verdict was replaced; `ceilings`, by task the main metric of the noise-free labels
        against the originals' recorded labels (only who knows the noise can score higher);
        `planted`, the factors by id, and `overfitting`, which tasks overfit early and which late.

    Raises
    ------
    UserError
        The grammars cannot give so many stories that differ enough from each other.
    """
    text_rng, label_rng, copy_rng = (np.random.default_rng((options.seed, i)) for i in range(3))
    copy_count = round(options.records * options.duplicates)
    drafts = _write_stories(options.records - copy_count, options.korean, text_rng)
    _label(drafts, options, label_rng)
    ceilings = _ceilings(drafts)
    _plant_copies(drafts, copy_count, copy_rng)
    records, planted = _assemble(drafts, copy_rng)
    return records, {"ceilings": ceilings, **planted}


def verdict_of(factors: Factors) -> str:
    """Return who is to blame: the first rule that applies."""
    if factors["motive"] == "unclear":
        return "INFO"
    if factors["motive"] == "kindness" and factors["outcome"] in ("happy", "harmless"):
        return "NOBODY"
    if factors["agent"] == "both" or factors["act"] == "quarrel":
        return "EVERYBODY"
    return "AUTHOR" if factors["agent"] == "me" else "OTHER"


def labels_of(factors: Factors) -> Record:
    """Return the five labels of a story, free of noise, in the fields of a record."""
    nearness, gravity, goodwill, harm = (FACTORS[name][factors[name]][1] for name in FACTORS)
    doubt = 1 - abs(2 * goodwill - 1)
    logits = {
        "joy": 2.4 * (1 - harm) + 1.2 * goodwill - 1,
        "anger": 2 * harm * (1 - goodwill) + 1 - nearness,
        "surprise": 1.6 * doubt + 0.6 * gravity,
        "disgust": 1.8 * gravity * (1 - goodwill),
        "sadness": 1.5 * harm + 0.8 * gravity * goodwill,
        "shame": 1.2 * nearness * (gravity + harm),
        "fear": 2 * doubt * harm,
    }
    moods = np.exp([logits[name] for name in EMOTIONS])
    selection = 1 - 0.6 * goodwill - 0.2 * nearness
    bentham = (gravity + harm) / 2, 0.7 * harm + 0.3 * gravity, 1 - doubt, nearness
    surd = selection, doubt, gravity * (0.3 + 0.7 * harm), (nearness + selection) / 2
    return {
        "label": verdict_of(factors),
        "emotions": (moods / moods.sum()).round(6).tolist(),
        "regret_factor": round(harm * (0.7 + 0.3 * gravity), 4),
        "bentham_scores": dict(zip(BENTHAM, np.round(bentham, 4).tolist(), strict=True)),
        "surd_metrics": dict(zip(SURD, np.round(surd, 4).tolist(), strict=True)),
    }


def _write_stories(count: int, korean: float, rng: Generator) -> list[Record]:
    """Write drafts: records with one more key, `planted`, which holds their share of the truth."""
    drafts: list[Record] = []
    for is_korean in rng.permutation(count) < round(korean * count):
        write = partial(_write_story, KOREAN if is_korean else ENGLISH, rng)
        drafts.append(_first_unlike([draft["text"] for draft in drafts], write))
    return drafts


def _first_unlike(texts: Sequence[str], write: Callable[[], Record]) -> Record:
    """Write drafts until one has a text unlike all `texts`, and return that one."""
    closest = partial(process.extractOne, scorer=fuzz.ratio, score_cutoff=DISTINCT_BELOW)
    for _ in range(ATTEMPTS):
        draft = write()
        if closest(draft["text"], texts) is None:
            return draft
    raise UserError(f"demo.records: found no story unlike the first {len(texts)}; ask for fewer")


def _write_story(grammar: Grammar, rng: Generator) -> Record:
    """Tell the act, then motive and outcome in any order, with an aside or two anywhere."""
    factors = {
        name: str(rng.choice(list(levels), p=[share for share, _ in levels.values()]))
        for name, levels in FACTORS.items()
    }
    agent, act = (_expand(factors[factor], grammar, rng) for factor in ("agent", "act"))
    symbols = ["scene", *rng.permutation([factors["motive"], factors["outcome"]])]
    for _ in range(rng.integers(1, 3)):
        symbols.insert(rng.integers(len(symbols) + 1), "aside")
    grammar = {**grammar, "agent": agent, "act": act}
    sentences = dict.fromkeys(_expand(symbol, grammar, rng) for symbol in symbols)
    text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
    return {"text": text, "title": f"{agent} {act}", "action": act, "planted": {"factors": factors}}


def _expand(symbol: str, grammar: Grammar, rng: Generator) -> str:
    """Choose one alternative of a symbol and expand the symbols in it."""
    pattern = str(rng.choice(grammar[symbol].split(" | ")))
    return re.sub(r"{(\w+)}", lambda inner: _expand(inner[1], grammar, rng), pattern)


def _label(drafts: Sequence[Record], options: CorpusOptions, rng: Generator) -> None:
    """Add the labels, blur some, drop some, and replace some verdicts."""
    for draft in drafts:
        draft.update(labels_of(draft["planted"]["factors"]))
        for name, deviation in NOISE.items():
            draft[name] = _blur(draft[name], options.target_noise * deviation, rng)
    for task in TASKS:
        for i in rng.permutation(len(drafts))[: round(options.missing * len(drafts))]:
            del drafts[i][task.field]
    labelled = [i for i, draft in enumerate(drafts) if "label" in draft]
    for i in rng.permutation(labelled)[: round(options.label_noise * len(labelled))]:
        drafts[i]["label"] = _another(drafts[i]["label"], VERDICTS, rng)
        drafts[i]["planted"]["noisy"] = True


def _blur(value: Any, deviation: float, rng: Generator) -> Any:
    """Add noise to a number, or to every number of an object, within 0 and 1."""
    if isinstance(value, Mapping):
        return {name: _blur(part, deviation, rng) for name, part in value.items()}
    return round(float(np.clip(rng.normal(value, deviation), 0, 1)), 4)


def _another(value: str, values: Sequence[str], rng: Generator) -> str:
    return str(rng.choice([candidate for candidate in values if candidate != value]))


def _ceilings(drafts: Sequence[Record]) -> dict[str, float]:
    """Return by task the main metric of noise-free against recorded labels, where it is defined."""
    pure = [labels_of(draft["planted"]["factors"]) for draft in drafts]
    scores = {
        task.name: metrics.main_metric(task, target_matrix(task, pure), target_matrix(task, drafts))
        for task in TASKS
    }
    return {name: score for name, score in scores.items() if math.isfinite(score)}


def _plant_copies(drafts: list[Record], count: int, rng: Generator) -> None:
    """Append copies of `count` drafts, each near its original and unlike all other texts."""
    for i in rng.permutation(len(drafts))[:count].tolist():
        other_texts = [draft["text"] for j, draft in enumerate(drafts) if j != i]
        copy = _first_unlike(other_texts, partial(_copy, drafts[i], rng))
        drafts.append({**copy, "planted": {"factors": drafts[i]["planted"]["factors"], "of": i}})


def _copy(original: Record, rng: Generator) -> Record:
    """Edit a text up to nine times, but keep it near the original; a quarter are exact copies."""
    copy = dict(original)
    for _ in range(rng.choice([0, 1, 3, 9])):
        edited = _edit(copy["text"], rng)
        if fuzz.ratio(original["text"], edited) >= DUPLICATE_FROM:
            copy["text"] = edited
    if "label" in copy and rng.random() < CONFLICT_SHARE:
        copy["label"] = _another(copy["label"], VERDICTS, rng)
    return copy


def _edit(text: str, rng: Generator) -> str:
    """Drop or double a letter, change the punctuation, or move the story to another place."""
    at = rng.integers(len(text))
    dropped, doubled = text[:at] + text[at + 1 :], text[: at + 1] + text[at:]
    places = (ENGLISH if text.isascii() else KOREAN)["place"].split(" | ")
    old = next((place for place in places if place in text), places[0])
    moved = text.replace(old, _another(old, places, rng))
    return str(rng.choice([dropped, doubled, text.replace(".", "!", 1), moved]))


def _assemble(drafts: Sequence[Record], rng: Generator) -> tuple[list[Record], dict[str, Any]]:
    """Put each copy somewhere behind its original, number the records, and collect the truth."""
    notes = [draft.pop("planted") for draft in drafts]
    copies = {i: note["of"] for i, note in enumerate(notes) if "of" in note}
    places = [rng.uniform(copies[i], len(notes)) if i in copies else i for i in range(len(notes))]
    order = np.argsort(places, kind="stable").tolist()
    ids = {i: f"demo-{rank:05d}" for rank, i in enumerate(order)}
    start = datetime(2024, 1, 1, tzinfo=UTC)
    records = [
        {"id": ids[i], **drafts[i], "timestamp": (start + timedelta(hours=rank)).isoformat()}
        for rank, i in enumerate(order)
    ]
    texts = [draft["text"] for draft in drafts]
    return records, {
        "duplicates": [
            {"id": ids[i], "of": ids[of], "similarity": fuzz.ratio(texts[i], texts[of]) / 100}
            for i, of in sorted(copies.items(), key=lambda copy: ids[copy[0]])
        ],
        "noisy": {"verdict": [ids[i] for i in order if "noisy" in notes[i]]},
        "planted": {
            "factors": {ids[i]: notes[i]["factors"] for i in order},
            "overfitting": {"early": ["regret", "verdict"], "late": ["emotion", "bentham", "surd"]},
        },
    }
