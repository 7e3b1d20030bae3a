"""Summarization: abstracts with their titles, and findings of several papers with one sentence over all of them."""

from __future__ import annotations

import json

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide
from protocol.methodology.tasks import Task
from protocol.samples import Point, TextInput

NAME = "embedded-abstracts"
DATA = "evals/registry/data"
ABOUT = About(
    name=NAME,
    task=Task.SUMMARIZATION,
    licence="MIT",
    note="460 texts from two sources: abstracts of papers on perovskite solar cells, whose summary is the paper's "
    "title, and claims of papers with a question, whose summary is one written by hand. Neither news nor "
    "conversations; fewer than 1,000 points and no thirds: never certifiable",
    attribution={
        "abstract2title": "abstract2title of OpenAI Evals (MIT), as packaged in evals 3.0.1.post1",
        "consensus": "consensus_summary of OpenAI Evals (MIT), as packaged in evals 3.0.1.post1",
    },
)
SHARES = {"abstract2title": Share(points=190, warm_up=12), "consensus": Share(points=270, warm_up=20)}


def build(members: Members) -> Built:
    """Return the texts without the instructions that the source puts before them: the task says what to do."""
    every = []
    for source, folder in (("abstract2title", "abstract2title"), ("consensus", "consensus_summary")):
        content = members["evals"][f"{DATA}/{folder}/samples.jsonl"].decode("utf-8")
        for number, line in enumerate(content.removesuffix("\n").split("\n")):
            row = json.loads(line)
            every.append(
                Point(
                    index=0,
                    point_id=f"{source}-{number:04d}",
                    source=source,
                    input=TextInput(text=row["input"][-1]["content"].strip()),
                    reference=row["ideal"].removeprefix("Summary: ").strip(),
                )
            )
    return divide(ABOUT, every, SHARES)


RECIPE = Recipe(name=NAME, task=Task.SUMMARIZATION, packages=("evals",), build=build)
