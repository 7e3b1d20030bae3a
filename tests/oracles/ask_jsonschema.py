"""Asks the library jsonschema about many values: `python ask_jsonschema.py FILE`; runs in the oracles' environment.

FILE is JSON: `schemas` by kind, and `cases` of kind, value and expected verdict. Prints how many were judged and the
numbers of those whose verdict is another; fails where a schema is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jsonschema import Draft202012Validator

asked = json.loads(Path(sys.argv[1]).read_text())
for schema in asked["schemas"].values():
    Draft202012Validator.check_schema(schema)
validators = {kind: Draft202012Validator(schema) for kind, schema in asked["schemas"].items()}
differs = [
    number
    for number, case in enumerate(asked["cases"])
    if validators[case["kind"]].is_valid(case["value"]) != case["expected"]
]
print(json.dumps({"judged": len(asked["cases"]), "differs": differs}))
