"""Extractive question answering: what an abbreviation stands for, who was studied, and questions without an answer.

Rules:
1. An entry of the Free On-line Dictionary of Computing is used where its head is an abbreviation and its text spells it
   out: consecutive words whose initials are the abbreviation's letters (small words may stand between), either all
   capitalised or opening the text, and not continued by another capitalised word. Every such span is accepted.
2. A clinical abstract's answers are the spans that the source marks; each of them is accepted. The question is ours.
3. The reference is a JSON list of the accepted answers; the empty list says that the context holds none.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide, unlike
from protocol.methodology.tasks import Task
from protocol.samples import Point, QuestionInput

NAME = "embedded-foldoc"
INDEX, TEXT = "usr/share/dictd/foldoc.index", "usr/share/dictd/foldoc.dict.dz"
SPANS = "evals/registry/data/population_span_extraction/samples.jsonl"
UNSOLVABLE = "evals/registry/data/unsolvable_questions/samples.jsonl"
WHO = "Which patients, people or samples were studied?"
ABOUT = About(
    name=NAME,
    task=Task.EXTRACTIVE_QA,
    licence="GFDL-1.1-or-later AND MIT AND CC-BY-SA-4.0",
    note="1,000 questions from three sources in unequal parts (no thirds): abbreviations of the Free On-line "
    "Dictionary of Computing, the people studied in clinical abstracts, and questions of SQuAD 2.0 that have no "
    "answer. The first two ask one question each: not the standard set, never certifiable",
    attribution={
        "foldoc": "The Free On-line Dictionary of Computing, editor Denis Howe (GFDL-1.1-or-later), as packaged in "
        "Debian's dict-foldoc 20230119-1",
        "population-spans": "population_span_extraction of OpenAI Evals (MIT), abstracts of the EBM-NLP corpus, as "
        "packaged in evals 3.0.1.post1",
        "squad2-unanswerable": "P. Rajpurkar, R. Jia and P. Liang, Know What You Don't Know, 2018 (CC-BY-SA-4.0), as "
        "packaged in evals 3.0.1.post1",
    },
)
SHARES = {
    "foldoc": Share(points=540, warm_up=32),
    "population-spans": Share(points=360, warm_up=24),
    "squad2-unanswerable": Share(points=100, warm_up=8),
}
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # dictd's base 64, highest digit first
_HEAD = re.compile(r"[A-Z][A-Za-z0-9]{1,7}")
_SMALL = frozenset("a and by for in of on the to with".split())
_SIZES = range(60, 2001)  # characters of a context


def build(members: Members) -> Built:
    """Return 540 abbreviations, 360 abstracts and 100 questions without an answer."""
    foldoc, evals = members["dict-foldoc"], members["evals"]
    every = list(_abbreviations(foldoc[INDEX], gzip.decompress(foldoc[TEXT])))
    every += _populations(evals[SPANS])
    every += _unanswerable(evals[UNSOLVABLE])
    return divide(ABOUT, every, SHARES)


def _point(point_id: str, source: str, question: str, context: str, answers: list[str]) -> Point:
    if any(answer not in context for answer in answers):
        raise unlike(NAME, f"{point_id}: an answer does not occur in its context", "a span of the context")
    asked = QuestionInput(question=question, context=context)
    reference = json.dumps(answers, ensure_ascii=False)
    return Point(index=0, point_id=point_id, source=source, input=asked, reference=reference)


def _abbreviations(index: bytes, text: bytes) -> Iterator[Point]:
    places = set()
    for line in index.decode("utf-8").removesuffix("\n").split("\n"):
        _, begin, length = line.split("\t")
        places.add((_number(begin), _number(length)))
    for offset, size in sorted(places):
        heads, _, body = text[offset : offset + size].decode("utf-8").partition("\n\n")
        plain = " ".join(re.sub(r"[{}]", "", body).split())
        context = re.sub(r" ?\(\d{4}-\d\d-\d\d\)$", "", plain)
        for head in {line.strip(): None for line in heads.split("\n")}:
            spans = spelled_out(head, context) if len(context) in _SIZES else []
            if spans:
                yield _point(f"foldoc-{offset}-{head}", "foldoc", f"What does {head} stand for?", context, spans)


def _number(word: str) -> int:
    value = 0
    for letter in word:
        value = value * 64 + _DIGITS.index(letter)
    return value


def spelled_out(head: str, text: str) -> list[str]:
    """Return the spans of a text that spell an abbreviation out, by rule 1, each once; none where none is there."""
    spans: dict[str, None] = {}
    if not _HEAD.fullmatch(head) or sum(letter.isupper() for letter in head) <= 1:
        return []
    words = list(re.finditer(r"[A-Za-z0-9]+", text))
    for first in range(len(words)):
        last = _last_word([word.group() for word in words[first : first + 2 * len(head) + 2]], head.casefold())
        if last < 1 or words[first].group() in _SMALL:
            continue
        begin, end = words[first].start(), words[first + last].end()
        span = text[begin:end]
        if re.search(r"[.;:()\"\[\]]", span) or re.match(r"[\w-]| [A-Z0-9]", text[end:]):
            continue
        opens = re.fullmatch(r"(?:\d\. )?(?:<[^>]*> )?", text[:begin]) is not None
        if opens or all(word[0].isupper() or word in _SMALL for word in re.findall(r"[A-Za-z0-9]+", span)):
            spans[span] = None
    return list(spans)


def _last_word(words: list[str], letters: str) -> int:
    """Return the place of the word that completes the letters, -1 where none does."""
    done = 0
    for place, word in enumerate(words):
        if word[0].casefold() == letters[done]:
            done += 1
            if done == len(letters):
                return place
        elif not (done and word.casefold() in _SMALL):
            return -1
    return -1


def _populations(content: bytes) -> Iterator[Point]:
    for number, line in enumerate(content.decode("utf-8").removesuffix("\n").split("\n")):
        row = json.loads(line)
        context = row["input"][-1]["content"].strip()
        marked = row["ideal"].partition(": ")[2].removeprefix("'").removesuffix("'").split("', '")
        answers = list(dict.fromkeys(span.strip() for span in marked if span.strip()))
        if answers and all(answer in context for answer in answers):
            yield _point(f"population-{number:03d}", "population-spans", WHO, context, answers)


def _unanswerable(content: bytes) -> Iterator[Point]:
    for number, line in enumerate(content.decode("utf-8").removesuffix("\n").split("\n")):
        row = json.loads(line)
        question, found, context = row["input"][-1]["content"].partition("\n Context: ")
        if row["ideal"] == "Unsolveable" and found:
            asked = question.removeprefix("Question: ").strip()
            yield _point(f"squad2-{number:03d}", "squad2-unanswerable", asked, context.strip(), [])


RECIPE = Recipe(name=NAME, task=Task.EXTRACTIVE_QA, packages=("dict-foldoc", "evals"), build=build)
