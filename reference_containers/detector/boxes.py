"""What CenterNet's two maps say: the peaks of its likeness map are the objects, the other map their edges.

Source: Zhou et al., Objects as Points, 2019: a peak is a cell that no neighbour exceeds, so that no boxes have to be
suppressed afterwards. The four edges of this model are distances from the cell, in pixels of its square.
"""

from __future__ import annotations

import numpy as np

STEP = 4  # pixels of the square from one cell to the next
MOST = 100  # objects of one picture
LEAST = 0.1  # score: below it a peak is noise


def peaks(likeness: np.ndarray) -> np.ndarray:
    """Return where a likeness map (h, w, classes) peaks: True where none of a cell's eight neighbours exceeds it."""
    height, width, _ = likeness.shape
    padded = np.pad(likeness, ((1, 1), (1, 1), (0, 0)), constant_values=-1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    highest = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return likeness >= highest[:height, :width]


def boxes(likeness: np.ndarray, edges: np.ndarray) -> list[tuple[int, float, np.ndarray]]:
    """Return the objects of one picture, best first: class, score and (x_min, y_min, x_max, y_max) in the square.

    `likeness` is (h, w, classes) between 0 and 1, `edges` (h, w, 4) with the distances to the left, upper, right and
    lower edge.
    """
    rows, columns, classes = np.nonzero(peaks(likeness) & (likeness >= LEAST))
    scores = likeness[rows, columns, classes]
    found = []
    for place in np.argsort(-scores, kind="stable")[:MOST]:
        row, column = rows[place], columns[place]
        left, upper, right, lower = edges[row, column]
        corners = np.array([column * STEP - left, row * STEP - upper, column * STEP + right, row * STEP + lower])
        found.append((int(classes[place]), float(scores[place]), corners))
    return found
