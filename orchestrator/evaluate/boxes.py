"""Boxes against boxes, by pycocotools: average precision at an intersection over union of 0.5, the mean over labels.

Rules:
1. As COCO evaluates `AP` at `IoU=0.50`, `area=all`, `maxDets=100`: every detection of a label is matched greedily by
   falling score, precision is interpolated at 101 recalls, labels that no reference has are left out.
2. A box is cut at the edges of its picture first, whose size the file's header tells: what lies outside shows nothing.
3. A failed answer found nothing. Pictures are numbered in an order that follows from their content, because detections
   with equal scores count in the order of their pictures.
Source: T.-Y. Lin et al., Microsoft COCO, ECCV 2014, and the detection evaluation of cocodataset.org.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

from orchestrator.evaluate.pairs import Metrics, Pair, list_of, unreadable
from protocol.methodology.dataset import point_digest
from protocol.pictures import picture_size
from protocol.samples import DetectionsAnswer, ImageInput

# The library tells its progress on standard output, where a command's JSON may go. Its modules look up `print` in
# themselves first.
for _module in (coco, cocoeval):
    vars(_module)["print"] = lambda *_words: None

_IOU = 0.5
_MOST = 100  # detections of a picture that count, by score
_ALL_AREAS = [0, 1e10]
_SIDES = 4
_Box = tuple[float, float, float, float]


def ap50(pairs: Sequence[Pair]) -> Fraction:
    """Return the mean over labels of the average precision at IoU 0.5; 0 where no reference holds an object."""
    ordered = sorted(pairs, key=_place)
    truth = [_truth(pair) for pair in ordered]
    numbers = {label: number for number, label in enumerate(sorted({label for own in truth for label, _ in own}), 1)}
    found = [_found(pair) for pair in ordered]
    if not numbers:
        return Fraction(0)
    sides = [_dataset(truth, numbers), _dataset(found, numbers)]
    evaluation = cocoeval.COCOeval(*sides, "bbox")
    evaluation.params.iouThrs = np.array([_IOU])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [_ALL_AREAS], ["all"]
    evaluation.params.maxDets = [_MOST]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return Fraction(float(np.mean(precision[precision > -1])))


METRICS: Metrics = {"ap50": ap50}
_Objects = list[tuple[str, tuple[float, _Box]]]  # labels, scores, and boxes as x, y, width and height


def _place(pair: Pair) -> tuple[str, str]:
    answer = pair.answer
    return point_digest(pair.point), repr(answer.detections) if isinstance(answer, DetectionsAnswer) else ""


def _dataset(objects: Sequence[_Objects], numbers: Mapping[str, int]) -> coco.COCO:
    """Return objects as the library holds them; labels that have no number are left out."""
    rows: list[dict[str, Any]] = []
    for image, own in enumerate(objects, 1):
        for label, (score, box) in own:
            if label in numbers:
                row = {"image_id": image, "category_id": numbers[label], "bbox": list(box), "area": box[2] * box[3]}
                rows.append({**row, "id": len(rows) + 1, "iscrowd": 0, "score": score})
    held = coco.COCO()
    held.dataset = {
        "images": [{"id": image} for image in range(1, len(objects) + 1)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": rows,
    }
    held.createIndex()
    return held


def _found(pair: Pair) -> _Objects:
    if not isinstance(pair.answer, DetectionsAnswer):
        return []
    size = picture_size(pair.point.input.content) if isinstance(pair.point.input, ImageInput) else None
    return [
        (one.label, (one.score, _cut((one.x_min, one.y_min, one.x_max, one.y_max), size)))
        for one in pair.answer.detections
        if all(map(math.isfinite, (one.score, one.x_min, one.y_min, one.x_max, one.y_max)))
    ]


def _cut(box: _Box, size: tuple[int, int] | None) -> _Box:
    """Return edges, cut at the picture's, as a corner with width and height."""
    width, height = size or (math.inf, math.inf)
    left, right = (min(max(edge, 0.0), width) for edge in (box[0], box[2]))
    top, bottom = (min(max(edge, 0.0), height) for edge in (box[1], box[3]))
    return left, top, max(right - left, 0.0), max(bottom - top, 0.0)


def _truth(pair: Pair) -> _Objects:
    return [_object(pair, item) for item in list_of(pair)]


def _object(pair: Pair, item: object) -> tuple[str, tuple[float, _Box]]:
    expected = 'objects of {"label": text, "box": [x_min, y_min, x_max, y_max]}'
    if not isinstance(item, dict) or not isinstance(label := item.get("label"), str):
        raise unreadable(pair, expected)
    edges = item.get("box")
    if not isinstance(edges, list) or len(edges) != _SIDES or not all(isinstance(e, int | float) for e in edges):
        raise unreadable(pair, expected)
    left, top, right, bottom = map(float, edges)
    return label, (1.0, (left, top, right - left, bottom - top))
