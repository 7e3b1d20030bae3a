"""The JSON Schema (draft 2020-12) of every statement that we sign, from the same limits as its strict reader.

The rules:
1. A schema says of a parsed payload what the reader says of its structure: which fields there are, of which type,
   within which bounds, null under which condition. A field that the reader does not know is refused here too.
2. What a schema cannot say is listed in its `$comment`; the reader refuses that as well. How the bytes are spelled (RFC
   8785, no floats, no duplicate names) is below every schema.
3. Patterns keep to what ECMA-262, Python and RE2 agree on. `$` may match before a last newline, so a bounded length or
   a rule against control characters stands beside every pattern.

`docs/generate.py` writes them to docs/schemas; a test holds each to its reader, field by field and by mutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from protocol.attestation.claims import (
    BLAMES,
    MAX_DEVICES,
    MAX_LAYERS,
    MAX_METRICS,
    MAX_POINTS,
    MAX_PROBES,
    MAX_RESOURCES,
    MAX_RUNS,
    MAX_SOURCES,
)
from protocol.attestation.equivalence import ENDPOINT_KINDS, EQUIVALENCE_DRAW_RULE, MAX_LEAVES_PER_RUN, VERDICTS
from protocol.attestation.fields import MAX_TEXT
from protocol.attestation.jcs import Json
from protocol.attestation.key_event import EVENT_KINDS, KEY_EVENT, KEYRING_SUBJECT
from protocol.attestation.keyring import ROLES
from protocol.attestation.predicates import CAMPAIGN_STATUSES, MAX_CELLS, MAX_FLAGS, MAX_OUTCOMES, SESSION_STATUSES
from protocol.attestation.statement import (
    CAMPAIGN_PLAN,
    CAMPAIGN_RESULT,
    EQUIVALENCE_CHALLENGE,
    EQUIVALENCE_FINDING,
    PRODUCTION_EQUIVALENCE,
    SESSION_INTENT,
    SESSION_OUTCOME,
    STATEMENT_TYPE,
    SUBJECT_NAME,
    SUBMISSION,
    predicate_type,
)
from protocol.attestation.submission_statement import MAX_DIFFERENCES, MAX_PRECISIONS
from protocol.methodology.equivalence import COMPARISON_RULE
from protocol.methodology.tasks import UNSCORED
from protocol.units import MAX_SAFE_INTEGER

_MAX_PLACE = (1 << 32) - 1  # of an answer in its run, as the readers bound it
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema: TypeAlias = dict[str, Json]

_NO_CONTROL: Schema = {"pattern": r"[\x00-\x1f\x7f]"}
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_NULL: Schema = {"type": "null"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}


def statement_schemas() -> dict[str, Schema]:
    """Return the schema of each kind of statement by the name of its predicate."""
    image = {name: _statement(name, SUBJECT_NAME, *kind) for name, kind in _IMAGE_KINDS.items()}
    return {**image, KEY_EVENT: _statement(KEY_EVENT, KEYRING_SUBJECT, _KEY_EVENT, _KEY_EVENT_BEYOND)}


def _statement(name: str, subject: str, predicate: Schema, beyond: str) -> Schema:
    """Return the schema of an in-toto statement with one subject and this predicate."""
    named: Schema = _object(name=_const(subject), digest=_object(sha256=_ref("digest")))
    whole = _object(
        _type=_const(STATEMENT_TYPE),
        subject={"type": "array", "items": named, "minItems": 1, "maxItems": 1},
        predicateType=_const(predicate_type(name)),
        predicate=predicate,
    )
    head: Schema = {
        "$schema": DIALECT,
        "$id": f"{predicate_type(name)}/schema.json",
        "title": f"The payload of a {name} statement",
        "description": f"docs/manifest.md#{name} says what each field means.",
        "$comment": f"Beyond this schema: RFC 8785 bytes, integers without fraction or exponent, {beyond}.",
    }
    return {**head, **whole, "$defs": {item: _DEFINITIONS[item] for item in _used(whole)}}


def _used(schema: Schema) -> list[str]:
    """Return the names of the definitions that a schema refers to, directly or not, in order."""
    found: set[str] = set()
    todo = list(_refs(schema))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _refs(_DEFINITIONS[name])
    return sorted(found)


def _refs(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        ref = value.get("$ref")
        if isinstance(ref, str):
            yield ref.rpartition("/")[2]
        for item in value.values():
            yield from _refs(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _refs(item)


def _object(optional: Mapping[str, Schema] | None = None, **required: Schema) -> Schema:
    """Return the schema of an object that has these fields and no others."""
    properties: dict[str, Json] = {**required, **(optional or {})}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _const(value: str | bool) -> Schema:  # noqa: FBT001 - the constant itself
    return {"const": value}


def _enum(values: Sequence[str]) -> Schema:
    return {"enum": list(values)}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]}


def _integer(minimum: int = 0, maximum: int = MAX_SAFE_INTEGER) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _array(items: Schema, limit: int, *, distinct: bool = False) -> Schema:
    unique: Schema = {"uniqueItems": True} if distinct else {}
    return {"type": "array", "items": items, "maxItems": limit, **unique}


def _map(values: Schema, limit: int) -> Schema:
    return {"type": "object", "additionalProperties": values, "maxProperties": limit}


def _where(field: str, value: str | bool, then: Mapping[str, Schema], other: Mapping[str, Schema]) -> Schema:  # noqa: FBT001 - the value of the field
    """Return the rule that some fields have one shape where a field has a value, and another where it has not."""
    rule: Schema = {"if": {"properties": {field: _const(value)}}}
    rule["then"] = {"properties": dict(then)}
    return {**rule, "else": {"properties": dict(other)}} if other else rule


_DEFINITIONS: Mapping[str, Schema] = {
    "text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "not": _NO_CONTROL},
    "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "maxLength": 64},
    "imageDigest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "maxLength": 71},
    "decimal": {
        "type": "string",
        "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$",
        "maxLength": MAX_TEXT,
        "not": _NO_CONTROL,
    },
    "moment": {"type": "string", "pattern": rf"^{_DAY}T{_TIME}(\.[0-9]{{1,6}})?Z$", "not": _NO_CONTROL},
    "count": _integer(),
    "number": _integer(1),
    "runner": _object(
        id=_ref("text"), keyId=_ref("digest"), bootId=_ref("text"), seq=_ref("number"), prev=_nullable(_ref("digest"))
    ),
    "link": _object(logIndex=_ref("count"), id=_ref("digest")),
    "failure": _object(code=_ref("text"), blame=_enum(BLAMES)),
    "resource": _object(name=_ref("text"), digest=_object(sha256=_ref("digest")), optional={"mediaType": _ref("text")}),
    "resources": _array(_ref("resource"), MAX_RESOURCES, distinct=True),
    "submission": _object(
        id=_ref("text"),
        vendor=_ref("text"),
        model=_ref("text"),
        modelVersion=_ref("text"),
        proprietary=_BOOLEAN,
        framework=_ref("text"),
        documentSha256=_ref("digest"),
    ),
    "image": _object(
        configDigest=_ref("imageDigest"),
        manifestDigest=_nullable(_ref("imageDigest")),
        diffIds=_array(_ref("imageDigest"), MAX_LAYERS),
    ),
    "device": _object(uuid=_ref("text"), name=_ref("text")),
    "dataset": _object(
        name=_ref("text"),
        sha256=_ref("digest"),
        sources=_map(_ref("count"), MAX_SOURCES),
        thirds=_BOOLEAN,
        shard=_BOOLEAN,
        optional={"privateShard": _ref("privateShard")},
    ),
    "privateShard": _object(points=_integer(1, MAX_POINTS), number=_ref("number"), saltedSha256=_ref("digest")),
    "plannedCell": _object(
        id=_ref("text"),
        task=_ref("text"),
        scenario=_ref("text"),
        precision=_ref("text"),
        batch=_ref("number"),
        points=_integer(1, MAX_POINTS),
        runs=_integer(1, MAX_RUNS),
        dataset=_ref("dataset"),
        optional={"probes": _ref("text")},
    ),
    "production": _object(
        precisions={**_array(_ref("text"), MAX_PRECISIONS, distinct=True), "minItems": 1},
        engine=_ref("text"),
        engineVersion=_ref("text"),
        differences=_array(_ref("text"), MAX_DIFFERENCES),
    ),
    "endpoint": {
        **_object(
            kind=_enum(ENDPOINT_KINDS),
            model=_ref("text"),
            modelVersion=_ref("text"),
            engine=_ref("text"),
            engineVersion=_ref("text"),
            recordedSha256=_nullable(_ref("digest")),
        ),
        **_where("kind", "recorded", {"recordedSha256": _ref("digest")}, {"recordedSha256": _NULL}),
    },
    "places": _array(_integer(0, _MAX_PLACE), MAX_LEAVES_PER_RUN, distinct=True),
    "comparedRun": _object(run=_integer(1, MAX_RUNS), places=_ref("places"), differing=_ref("places")),
    "comparedCell": _object(
        id=_ref("text"), outcome=_ref("digest"), runs=_array(_ref("comparedRun"), MAX_RUNS, distinct=True)
    ),
    "responses": _object(root=_ref("digest"), leaves=_ref("count")),
    "quality": {
        **_object(
            metric=_ref("text"),
            value=_nullable(_ref("decimal")),
            errors=_ref("count"),
            optional={
                "secondary": _map(_ref("decimal"), MAX_METRICS),
                "outputTokens": _object(counted=_ref("count"), claimed=_nullable(_ref("count"))),
            },
        ),
        **_where("metric", UNSCORED, {}, {"value": _ref("decimal")}),
    },
    "run": {
        **_object(
            run=_integer(1, MAX_RUNS),
            window=_ref("text"),
            timelineSha256=_ref("digest"),
            queries=_ref("count"),
            samples=_ref("count"),
            passes=_ref("count"),
            figures=_nullable(_OBJECT),
            responses=_nullable(_ref("responses")),
            quality=_nullable(_ref("quality")),
            discarded=_BOOLEAN,
        ),
        **_where(
            "discarded",
            False,  # noqa: FBT003 - the value of the field
            {"figures": _OBJECT, "responses": _ref("responses"), "quality": _ref("quality")},
            {},
        ),
    },
    "probe": {
        **_object(
            number=_integer(MAX_RUNS + 1, MAX_RUNS + MAX_PROBES),
            window=_ref("text"),
            timelineSha256=_ref("digest"),
            queries=_ref("count"),
            samples=_ref("count"),
            figures=_nullable(_OBJECT),
            responses=_nullable(_ref("responses")),
            quality=_nullable(_ref("quality")),
            discarded=_BOOLEAN,
        ),
        **_where(
            "discarded",
            False,  # noqa: FBT003 - the value of the field
            {"figures": _OBJECT, "responses": _ref("responses")},
            {},
        ),
    },
    "cellResult": _object(
        id=_ref("text"),
        outcome=_ref("digest"),
        recomputed=_map(_ref("text"), MAX_RESOURCES),
        committed=_map(_ref("text"), MAX_RESOURCES),
    ),
}

_PLAN = _object(
    runner=_ref("runner"),
    submission=_ref("submission"),
    vendorSeq=_ref("number"),
    prevPlan=_nullable(_ref("digest")),
    image=_ref("image"),
    method=_ref("text"),
    official=_BOOLEAN,
    hardwareClass=_ref("text"),
    devices=_array(_ref("device"), MAX_DEVICES),
    cells=_array(_ref("plannedCell"), MAX_CELLS, distinct=True),
    orderRule=_ref("text"),
    statistic=_ref("text"),
    attemptsPerCell=_ref("number"),
    abortReasons=_array(_ref("text"), MAX_FLAGS),
    launchProfileSha256=_ref("digest"),
    runnerVersion=_ref("text"),
    startedOn=_ref("moment"),
    deadline=_ref("moment"),
    optional={"submissionStatement": _ref("link")},
)

_INTENT = _object(
    runner=_ref("runner"),
    campaign=_ref("digest"),
    cell=_ref("text"),
    attempt=_ref("number"),
    declaredOn=_ref("moment"),
)

_OUTCOME: Schema = {
    **_object(
        runner=_ref("runner"),
        campaign=_ref("digest"),
        intent=_ref("link"),
        cell=_ref("text"),
        attempt=_ref("number"),
        nonce=_ref("digest"),
        status=_enum(SESSION_STATUSES),
        abort=_nullable(_ref("failure")),
        startedOn=_ref("moment"),
        finishedOn=_ref("moment"),
        traceSha256=_nullable(_ref("digest")),
        traceChain=_nullable(_ref("digest")),
        runs=_array(_ref("run"), MAX_RUNS),
        environment=_OBJECT,
        resolvedDependencies=_ref("resources"),
        byproducts=_ref("resources"),
        optional={"probes": _array(_ref("probe"), MAX_PROBES)},
    ),
    **_where(
        "status",
        "completed",
        {"abort": _NULL, "traceSha256": _ref("digest"), "traceChain": _ref("digest")},
        {"abort": _ref("failure")},
    ),
}

_RESULT: Schema = {
    **_object(
        runner=_ref("runner"),
        campaign=_ref("digest"),
        status=_enum(CAMPAIGN_STATUSES),
        failure=_nullable(_ref("failure")),
        outcomes=_array(_ref("link"), MAX_OUTCOMES),
        cells=_array(_ref("cellResult"), MAX_CELLS, distinct=True),
        certifiable=_BOOLEAN,
        flags=_array(_ref("text"), MAX_FLAGS),
        byproducts=_ref("resources"),
    ),
    **_where("status", "completed", {"failure": _NULL}, {"failure": _ref("failure")}),
}

_SUBMISSION = _object(
    submission=_ref("submission"),
    production=_nullable(_ref("production")),
    signedOn=_ref("moment"),
    validUntil=_ref("moment"),
)

_EQUIVALENCE = _object(
    campaign=_ref("digest"),
    vendor=_ref("text"),
    model=_ref("text"),
    modelVersion=_ref("text"),
    production=_ref("production"),
    declaredOn=_ref("moment"),
)

_CHALLENGE = _object(
    campaign=_ref("digest"),
    declaration=_ref("digest"),
    commitment=_ref("digest"),
    drawRule=_const(EQUIVALENCE_DRAW_RULE),
    leavesPerRun=_integer(1, MAX_LEAVES_PER_RUN),
    challengedOn=_ref("moment"),
)

_FINDING = _object(
    campaign=_ref("digest"),
    challenge=_ref("link"),
    secret=_ref("digest"),
    nonce=_ref("digest"),
    comparisonRule=_const(COMPARISON_RULE),
    endpoint=_ref("endpoint"),
    cells=_array(_ref("comparedCell"), MAX_CELLS, distinct=True),
    verdict=_enum(VERDICTS),
    foundOn=_ref("moment"),
)

_KEY_EVENT: Schema = {
    **_object(
        event=_enum(EVENT_KINDS),
        keyId=_ref("digest"),
        role=_enum(ROLES),
        name=_ref("text"),
        successor=_nullable(_ref("digest")),
        lastValidIndex=_nullable(_ref("count")),
        reason=_ref("text"),
        decidedOn=_ref("moment"),
        keyringVersion=_integer(2),
        previousKeyring=_ref("digest"),
    ),
    "allOf": [
        _where("event", "rotated", {"successor": _ref("digest")}, {"successor": _NULL}),
        _where("event", "enrolled", {"lastValidIndex": _NULL}, {}),
        _where("event", "renewed", {"lastValidIndex": _NULL}, {}),
        _where("event", "rotated", {"lastValidIndex": _ref("count")}, {}),
        _where("event", "revoked", {"lastValidIndex": _ref("count")}, {}),
    ],
}

_KEY_EVENT_BEYOND = "times that exist, a successor other than the key"

# By the name of the predicate: its schema, and what the reader refuses beyond it.
_IMAGE_KINDS: Mapping[str, tuple[Schema, str]] = {
    CAMPAIGN_PLAN: (_PLAN, "times that exist, each cell's id once, image.configDigest equal to the subject"),
    SESSION_INTENT: (_INTENT, "times that exist"),
    SESSION_OUTCOME: (_OUTCOME, "times that exist, each resource's name once in its list"),
    CAMPAIGN_RESULT: (_RESULT, "each cell's id and each byproduct's name once"),
    SUBMISSION: (_SUBMISSION, "times that exist, validUntil after signedOn"),
    PRODUCTION_EQUIVALENCE: (_EQUIVALENCE, "times that exist"),
    EQUIVALENCE_CHALLENGE: (_CHALLENGE, "times that exist"),
    EQUIVALENCE_FINDING: (
        _FINDING,
        "times that exist, each cell's id once, runs and places in order, differing places among the drawn",
    ),
}
