"""The standard datasets of AI Energy Score as the Hugging Face hub publishes them, a row each; nothing is fetched.

Source of ids and columns: the hub's pages of the organisation AIEnergyScore, and its benchmark's configurations (one
config `default`, one split `train`, `data/train-00000-of-00001.parquet`). A revision stands here where it was seen in
full; `fetch` always wants it said. What is not known of a set (licence of its sources, labels, sources of single rows)
is not claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from protocol.methodology.tasks import Input, Task

ORGANISATION = "AIEnergyScore"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardSet:
    """One set: our `name`, its `repository` below the organisation, and the columns that make a point's input.

    `columns` are in the order of the input's fields (text; question, context; first, second; image; audio). `mixed`
    are the collections that its authors mixed; its rows do not say which of them they are from.
    """

    name: str
    repository: str
    task: Task
    kind: Input
    columns: tuple[str, ...]
    revision: str | None
    mixed: tuple[str, ...]
    licence: str = "LicenseRef-see-sources"

    @property
    def hub_id(self) -> str:
        """The repository's id on the hub."""
        return f"{ORGANISATION}/{self.repository}"


def _row(  # noqa: PLR0917 - a table reads best as rows
    repository: str,
    task: Task,
    kind: Input,
    columns: tuple[str, ...],
    revision: str | None,
    mixed: str,
    licence: str = "LicenseRef-see-sources",
) -> StandardSet:
    return StandardSet(
        name=f"aies-{repository.lower().replace('_', '-')}",
        repository=repository,
        task=task,
        kind=kind,
        columns=columns,
        revision=revision,
        mixed=tuple(mixed.split("; ")),
        licence=licence,
    )


STANDARD_SETS: Mapping[str, StandardSet] = MappingProxyType(
    {
        row.name: row
        for row in (
            _row(
                "text_generation",
                Task.TEXT_GENERATION,
                Input.TEXT,
                ("text",),
                "2dc92b2ee2cd9776a51ccf08c6c2ab04138370c3",
                "WikiText; OSCAR; UltraChat",
                "Apache-2.0",
            ),
            _row(
                "summarization",
                Task.SUMMARIZATION,
                Input.TEXT,
                ("text",),
                None,
                "CNN/DailyMail; SAMSum; ArXiv",
            ),
            _row(
                "extractive_qa",
                Task.EXTRACTIVE_QA,
                Input.QUESTION,
                ("question", "context"),
                None,
                "SQuAD v2; XTREME; SquadShifts",
            ),
            _row(
                "text_classification",
                Task.TEXT_CLASSIFICATION,
                Input.TEXT,
                ("text",),
                "3dec3909fd9b4204933bb2021e9738367acbc913",
                "IMDB; TweetEval; Yelp",
            ),
            _row(
                "sentence_similarity",
                Task.SEMANTIC_SIMILARITY,
                Input.TEXT_PAIR,
                ("sentence1", "sentence2"),
                None,
                "STS-B; Sentence Compression; Phrase Similarity",
            ),
            _row(
                "image_classification",
                Task.IMAGE_CLASSIFICATION,
                Input.IMAGE,
                ("image",),
                "ebc6a9f62fe5a6781c5482ce03f4848fbf0576de",
                "ImageNet; Food101; Beans",
            ),
            _row(
                "object_detection",
                Task.OBJECT_DETECTION,
                Input.IMAGE,
                ("image",),
                None,
                "COCO 2017; Visual Genome; Plastic in River",
            ),
            _row(
                "ASR",
                Task.SPEECH_TO_TEXT,
                Input.AUDIO,
                ("audio",),
                None,
                "LibriSpeech; Common Voice; People's Speech",
            ),
            _row(
                "image_generation",
                Task.IMAGE_GENERATION,
                Input.TEXT,
                ("prompt",),
                "5de86981f6a30b5ed5c2031b2d9e3cea894fc00b",
                "COCO 2014 captions; DiffusionDB; Nouns",
            ),
        )
    }
)
"""By our names. Reasoning asks the prompts of text generation."""
