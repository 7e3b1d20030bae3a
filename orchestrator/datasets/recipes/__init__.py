"""The recipes of the embedded datasets, by the datasets' names; adding one adds a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.datasets.recipe import Recipe
from orchestrator.datasets.recipes import (
    abstracts,
    aies_prompts,
    digit_prompts,
    foldoc,
    gsm8k,
    photos,
    scenes,
    similarity,
    speech,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        module.RECIPE.name: module.RECIPE
        for module in (aies_prompts, gsm8k, abstracts, foldoc, similarity, photos, scenes, speech, digit_prompts)
    }
)
