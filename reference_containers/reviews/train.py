"""Train the review classifier: `train.py TRAIN.jsonl FOLDER` writes vocabulary.json and weights.npz, always the same.

TF-IDF (1 + log of the count, times the inverse document frequency, scaled to length one) into a logistic regression.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from features import terms
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression


def main(source: Path, folder: Path) -> None:
    """Train on the file's reviews and write the model's two files."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    vectorizer = TfidfVectorizer(analyzer=terms, sublinear_tf=True)
    matrix = vectorizer.fit_transform([row["text"] for row in rows])
    model = LogisticRegression(C=10.0, solver="liblinear", random_state=0)
    model.fit(matrix, [row["reference"] == "positive" for row in rows])
    vocabulary = {term: int(column) for term, column in sorted(vectorizer.vocabulary_.items())}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    arrays = {"idf": vectorizer.idf_, "weights": model.coef_[0], "bias": model.intercept_}
    np.savez(folder / "weights.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
