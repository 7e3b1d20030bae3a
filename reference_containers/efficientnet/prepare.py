"""A photograph as EfficientNet-Lite0 takes it, the same where it is quantized and where it is asked."""

from __future__ import annotations

import numpy as np
from kit.pictures import letterbox
from PIL import Image

SIDE = 224  # pixels
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's red, green and blue
SPREAD = np.array([0.229, 0.224, 0.225], np.float32)


def prepared(picture: Image.Image) -> np.ndarray:
    """Return a whole picture on grey as (3, 224, 224) float32, each colour with ImageNet's mean and spread.

    The authors cut out the middle; a picture whose thing fills it loses its edges that way.
    """
    square, *_ = letterbox(picture, SIDE)
    return ((square.astype(np.float32) / 255 - MEAN) / SPREAD).transpose(2, 0, 1)
