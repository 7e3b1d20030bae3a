"""Croissant metadata of a dataset in canonical form, so that other people's tools find their way in it.

Source: MLCommons Croissant 1.0, http://mlcommons.org/croissant/1.0. Pictures and recordings are named by their SHA-256;
their files are described as a set. What Croissant has no word for (digest, thirds, what is lacking) stands in the
description, in the words of dataset.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.datasets.canonical import POINTS, POOL, WARM_UP, facts_of
from protocol.methodology.dataset import Dataset

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_JSON_LINES = "application/jsonlines"
_PARTS = {POINTS: "points", WARM_UP: "warm-up", POOL: "pool"}
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(dataset: Dataset, files: Mapping[str, bytes]) -> bytes:
    """Return croissant.json for a dataset whose canonical `files` are given by name; the same for the same dataset."""
    facts = facts_of(dataset)
    cited = "; ".join(dict.fromkeys(str(author) for author in dataset.attribution.values())) or dataset.note
    lacking = ", ".join(facts["lacks"]) or "nothing"
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": dataset.name,
        "description": f"{dataset.note} Task: {facts['task']}. It lacks for being certifiable: {lacking}.",
        "license": dataset.licence,
        "url": f"urn:jouleseal:dataset:{dataset.name}:{dataset.digest}",
        "version": f"1.0.0+{dataset.digest[:16]}",
        "datePublished": "1970-01-01",  # a build has no date: the same points give the same bytes on every day
        "citeAs": cited,
        "distribution": [_file(name, files[name]) for name in _PARTS if name in files],
        "recordSet": [_records(name, files[name]) for name in _PARTS if files.get(name)],
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _file(name: str, data: bytes) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{len(data)} B",
        "encodingFormat": _JSON_LINES,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _records(name: str, data: bytes) -> dict[str, Any]:
    part = _PARTS[name]
    columns = json.loads(data.partition(b"\n")[0])
    return {
        "@type": "cr:RecordSet",
        "@id": part,
        "name": part,
        "key": {"@id": f"{part}/id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{part}/{column}",
                "name": f"{part}/{column}",
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": name}, "extract": {"column": column}},
            }
            for column in columns
            if column != "messages"  # a list of objects, which a column of texts cannot hold
        ],
    }
