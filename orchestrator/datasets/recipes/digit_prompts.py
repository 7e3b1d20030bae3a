"""Image generation: prompts for handwritten digits, which a classifier of digits can judge."""

from __future__ import annotations

from itertools import product

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, Share, divide
from protocol.methodology.tasks import Task
from protocol.samples import Point, TextInput

NAME = "embedded-digit-prompts"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUBJECTS = (
    "a handwritten {}",
    "the digit {}, written by hand",
    "the number {} in handwriting",
    "a picture of a handwritten {}",
    "a scan of the handwritten digit {}",
)
MANNERS = (
    "",
    ", in thin strokes",
    ", in bold strokes",
    ", slanted",
    ", upright",
    ", centred",
    ", written quickly",
    ", written neatly",
    ", in pen",
    ", in pencil",
    ", in chalk",
    ", with a brush",
)
ABOUT = About(
    name=NAME,
    task=Task.IMAGE_GENERATION,
    licence="Apache-2.0",
    note="1,000 of 1,200 prompts made of five subjects, twelve manners and ten digits in words or as numerals, "
    "made by this project: a toy domain, where a judge sees whether the digit is the one asked for and nothing of "
    "the manner. One source, never certifiable",
    attribution={"digit-prompts": "made by the Jouleseal project (Apache-2.0); no package"},
)


def build(members: Members) -> Built:
    """Return 1,000 prompts, each with the numeral that the judge must see; no member is read."""
    del members
    every = []
    for (subject_at, subject), (manner_at, manner), digit in product(
        enumerate(SUBJECTS), enumerate(MANNERS), range(10)
    ):
        for form, name in (("word", WORDS[digit]), ("numeral", str(digit))):
            text = subject.format(name) + manner
            point_id = f"prompt-{subject_at}-{manner_at:02d}-{form}-{digit}"
            asked = TextInput(text=text)
            every.append(Point(index=0, point_id=point_id, source="digit-prompts", input=asked, reference=str(digit)))
    return divide(ABOUT, every, {"digit-prompts": Share(points=1000, warm_up=64)})


RECIPE = Recipe(name=NAME, task=Task.IMAGE_GENERATION, packages=(), build=build)
