"""A point as one line of JSON, with the digest of its content: how datasets and opened shards are written down.

    {"id":"yelp-0642","source":"yelp","sha256":<hex of the content>,"text":"...","reference":"positive"}

Rules:
1. Beside id, source, sha256 and reference (a text or null) stand the input's own fields and no others: `text`;
   `question` and `context`; `first` and `second`; `messages`, a list of {"role","content"}; `image` or `audio`, the
   SHA-256 of a blob that lies beside; or `png`, `imageBase64`, `audioBase64`, the bytes themselves in base64.
2. `sha256` is the digest of the content (protocol.methodology.dataset, rule 2), a blob included. A line whose content
   has another digest is refused, and the point named.
3. Ids and sources are single lines without control characters, so that an index can hold them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from protocol.errors import VerificationError
from protocol.methodology.dataset import point_digest
from protocol.samples import (
    AudioInput,
    ChatInput,
    ChatMessage,
    ChatRole,
    ImageInput,
    Point,
    QuestionInput,
    SampleInput,
    TextInput,
    TextPairInput,
)

MAX_NAME = 512
_COMMON = frozenset({"id", "source", "sha256", "reference"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)

Blobs: TypeAlias = Callable[[str], bytes]
"""Returns a blob's bytes by the hexadecimal SHA-256 that a line names."""


def read_point(line: str, index: int, blobs: Blobs) -> Point:
    """Read one line; `index` is the point's place in its set. VerificationError POINT_DAMAGED names the point."""
    point_id = "?"
    try:
        row = json.loads(line)
        point_id = str(row["id"])
        point = Point(
            index=index,
            point_id=_name(row["id"]),
            source=_name(row["source"]),
            input=read_input(row, blobs),
            reference=None if row["reference"] is None else _text(row["reference"]),
        )
        digest, claimed = point_digest(point), row["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(point_id, f"cannot be read: {_reason(error)}", "a point") from error
    if digest != claimed:
        raise damaged(point_id, f"has the digest {digest}", f"{claimed}")
    return point


def read_input(  # noqa: PLR0911 - one return a kind of input
    row: Mapping[str, Any], blobs: Blobs, common: frozenset[str] = _COMMON
) -> SampleInput:
    """Return the input of a row whose other fields are `common`; ValueError where it is none.

    A blob is refused unless its bytes have the digest that the row names.
    """
    match sorted(row.keys() - common):
        case ["text"]:
            return TextInput(text=_text(row["text"]))
        case ["context", "question"]:
            return QuestionInput(question=_text(row["question"]), context=_text(row["context"]))
        case ["first", "second"]:
            return TextPairInput(first=_text(row["first"]), second=_text(row["second"]))
        case ["messages"]:
            return _chat(row["messages"])
        case ["image"]:
            return ImageInput(content=_blob(row["image"], blobs))
        case ["audio"]:
            return AudioInput(content=_blob(row["audio"], blobs))
        case ["png" | "imageBase64" as field]:
            return ImageInput(content=base64.b64decode(_text(row[field]), validate=True))
        case ["audioBase64"]:
            return AudioInput(content=base64.b64decode(_text(row["audioBase64"]), validate=True))
        case fields:
            raise ValueError(f"the fields {', '.join(fields) or 'of no input'}")


def write_point(point: Point, *, inline: bool = False) -> tuple[str, dict[str, bytes]]:
    """Return a point's line, with the line's end, and the blobs that it names; none where they stand `inline`."""
    fields: dict[str, Any]
    blobs: dict[str, bytes] = {}
    match point.input:
        case TextInput(text=text):
            fields = {"text": text}
        case QuestionInput(question=question, context=context):
            fields = {"question": question, "context": context}
        case TextPairInput(first=first, second=second):
            fields = {"first": first, "second": second}
        case ChatInput(messages=messages):
            fields = {"messages": [{"role": turn.role.value, "content": turn.content} for turn in messages]}
        case ImageInput(content=content) | AudioInput(content=content):
            kind = "image" if isinstance(point.input, ImageInput) else "audio"
            digest = hashlib.sha256(content).hexdigest()
            fields = {f"{kind}Base64": base64.b64encode(content).decode()} if inline else {kind: digest}
            blobs = {} if inline else {digest: content}
    row = {"id": point.point_id, "source": point.source, "sha256": point_digest(point), **fields}
    return json.dumps({**row, "reference": point.reference}, ensure_ascii=False) + "\n", blobs


def damaged(point_id: str, observed: str, expected: str) -> VerificationError:
    """Return the error for a point that is not what it claims to be."""
    return VerificationError(
        code="POINT_DAMAGED",
        observed=f"point {point_id} {observed}",
        expected=expected,
        hint="take the dataset from its origin again",
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text belongs")  # noqa: TRY004 - caught as damage above
    value.encode()  # a lone surrogate is no text
    return value


def _name(value: object) -> str:
    name = _text(value)
    if not 0 < len(name) <= MAX_NAME or _CONTROL.search(name):
        raise ValueError(f"an id or source that is no line of at most {MAX_NAME} characters")
    return name


def _chat(turns: object) -> ChatInput:
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and turn.keys() == {"role", "content"} for turn in turns
    ):
        raise ValueError("messages that are no list of role and content")
    return ChatInput(
        messages=tuple(ChatMessage(role=ChatRole(turn["role"]), content=_text(turn["content"])) for turn in turns)
    )


def _blob(name: object, blobs: Blobs) -> bytes:
    digest = _text(name)
    if not _HEX.fullmatch(digest):
        raise ValueError("a blob that is not named by its SHA-256")
    content = blobs(digest)
    seen = hashlib.sha256(content).hexdigest()
    if seen != digest:
        raise ValueError(f"blob {digest} has the SHA-256 {seen}")
    return content


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
