"""A judge of JSON Schema (draft 2020-12) for the words that our schemas use; any other word is an error.

It stands in where no library for it is locked. `make test-oracles` asks the library `jsonschema` about the same values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SILENT = {"$schema", "$id", "$comment", "$defs", "title", "description", "then", "else"}
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def accepts(schema: dict, value: Any) -> bool:
    """Tell whether a value without floats is valid under a schema; KeyError for a word that this judge lacks."""
    return _Judge(schema).under(schema, value)


def is_a(kind: str, value: Any) -> bool:
    return isinstance(value, TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# Each rule about values of one type, by that type; it is silent about values of the others.
BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "pattern": ("string", lambda said, value: re.search(said, value) is not None),
    "minLength": ("string", lambda said, value: len(value) >= said),
    "maxLength": ("string", lambda said, value: len(value) <= said),
    "minimum": ("integer", lambda said, value: value >= said),
    "maximum": ("integer", lambda said, value: value <= said),
    "minItems": ("array", lambda said, value: len(value) >= said),
    "maxItems": ("array", lambda said, value: len(value) <= said),
    "uniqueItems": ("array", lambda said, value: len({json.dumps(i, sort_keys=True) for i in value}) == len(value)),
    "maxProperties": ("object", lambda said, value: len(value) <= said),
    "required": ("object", lambda said, value: set(said) <= set(value)),
}


@dataclass(frozen=True)
class _Judge:
    root: dict

    def under(self, schema: dict, value: Any) -> bool:
        return all(self._word(word, said, schema, value) for word, said in schema.items() if word not in SILENT)

    def _word(self, word: str, said: Any, schema: dict, value: Any) -> bool:
        if word in BOUNDS:
            kind, holds = BOUNDS[word]
            return not is_a(kind, value) or holds(said, value)
        return getattr(self, RULES[word])(said, schema, value)

    def _type(self, said: Any, _: dict, value: Any) -> bool:
        return is_a(said, value)

    def _const(self, said: Any, _: dict, value: Any) -> bool:
        return same(said, value)

    def _enum(self, said: Any, _: dict, value: Any) -> bool:
        return any(same(each, value) for each in said)

    def _ref(self, said: Any, _: dict, value: Any) -> bool:
        return self.under(self.root["$defs"][said.removeprefix("#/$defs/")], value)

    def _not(self, said: Any, _: dict, value: Any) -> bool:
        return not self.under(said, value)

    def _any(self, said: Any, _: dict, value: Any) -> bool:
        return any(self.under(each, value) for each in said)

    def _all(self, said: Any, _: dict, value: Any) -> bool:
        return all(self.under(each, value) for each in said)

    def _if(self, said: Any, schema: dict, value: Any) -> bool:
        return self.under(schema.get("then" if self.under(said, value) else "else", {}), value)

    def _items(self, said: Any, _: dict, value: Any) -> bool:
        return not is_a("array", value) or all(self.under(said, item) for item in value)

    def _properties(self, said: Any, _: dict, value: Any) -> bool:
        return not is_a("object", value) or all(
            self.under(said[name], item) for name, item in value.items() if name in said
        )

    def _additional(self, said: Any, schema: dict, value: Any) -> bool:
        if not is_a("object", value):
            return True
        others = [item for name, item in value.items() if name not in schema.get("properties", {})]
        return not others if said is False else all(self.under(said, item) for item in others)


RULES = {
    "type": "_type",
    "const": "_const",
    "enum": "_enum",
    "$ref": "_ref",
    "not": "_not",
    "anyOf": "_any",
    "allOf": "_all",
    "if": "_if",
    "items": "_items",
    "properties": "_properties",
    "additionalProperties": "_additional",
}
