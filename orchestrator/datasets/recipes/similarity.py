"""Semantic similarity: pairs of documents and pairs of words with the mean of what people said, from three sources."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide
from protocol.methodology.dataset import THIRDS
from protocol.methodology.tasks import Task
from protocol.samples import Point, TextPairInput

NAME = "embedded-similarity"
DATA = "gensim/test/test_data"
ABOUT = About(
    name=NAME,
    task=Task.SEMANTIC_SIMILARITY,
    licence="LGPL-2.1-only AND CC-BY-4.0",
    note="1,000 pairs in equal thirds: news articles of Lee, words of SimLex-999 and words of WordSim-353. Not "
    "sentence pairs, as the standard set holds. All scores are on a scale from 0 to 10; Lee's, which are fifths of "
    "a scale from 1 to 5, are mapped onto it. WordSim-353 leaves 18 pairs for the pool, SimLex-999 and Lee 120 each",
    attribution={
        "lee": "M. D. Lee, B. Pincombe and M. Welsh, An Empirical Evaluation of Models of Text Document "
        "Similarity, CogSci 2005, as packaged in gensim 4.4.0 (LGPL-2.1); states no licence of its own",
        "simlex999": "F. Hill, R. Reichart and A. Korhonen, SimLex-999, Computational Linguistics 2015, as "
        "packaged in gensim 4.4.0 (LGPL-2.1); states no licence of its own",
        "wordsim353": "L. Finkelstein et al., Placing Search in Context, TOIS 2002 (CC-BY-4.0), as packaged in "
        "gensim 4.4.0",
    },
)
SHARES = {
    "lee": Share(points=THIRDS[0], warm_up=32, pool=120),
    "simlex999": Share(points=THIRDS[1], warm_up=32, pool=120),
    "wordsim353": Share(points=THIRDS[2], warm_up=0, pool=18),
}


def build(members: Members) -> Built:
    """Return 334 pairs of Lee, 333 of SimLex-999 and 333 of WordSim-353."""
    data = members["gensim"]
    every = list(_lee(data[f"{DATA}/lee.cor"], data[f"{DATA}/similarities0-1.txt"]))
    every += _words("wordsim353", data[f"{DATA}/wordsim353.tsv"])  # first: a pair that is in both stays in the smaller
    every += _words("simlex999", data[f"{DATA}/simlex999.txt"])
    return divide(ABOUT, every, SHARES)


def _lee(corpus: bytes, matrix: bytes) -> Iterator[Point]:
    documents = corpus.decode("latin-1").removesuffix("\n").split("\n")
    rows = [line.split("\t") for line in matrix.decode("ascii").removesuffix("\n").split("\n")]
    for first in range(len(documents)):
        for second in range(first + 1, len(documents)):
            score = (Decimal(rows[first][second]) * 5 - 1) * 10 / 4  # 1 to 5 becomes 0 to 10
            texts = documents[first], documents[second]
            yield _pair(f"lee-{first:02d}-{second:02d}", "lee", texts, f"{score.normalize():f}")


def _words(source: str, content: bytes) -> Iterator[Point]:
    lines = content.decode("utf-8").removesuffix("\n").split("\n")
    rows = [line.strip().split("\t") for line in lines if not line.startswith("#")]
    for number, (first, second, score) in enumerate(rows):
        yield _pair(f"{source}-{number:03d}", source, (first, second), score)


def _pair(point_id: str, source: str, texts: tuple[str, str], score: str) -> Point:
    pair = TextPairInput(first=texts[0].strip(), second=texts[1].strip())
    return Point(index=0, point_id=point_id, source=source, input=pair, reference=score.strip())


RECIPE = Recipe(name=NAME, task=Task.SEMANTIC_SIMILARITY, packages=("gensim",), build=build)
