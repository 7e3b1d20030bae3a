"""The network in TensorFlow: one graph, traced once and frozen around its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from network import SIDE, Layer


class Network:
    """The network with its weights; asked with pictures (n, 8, 8), it answers with shares (n, 10)."""

    def __init__(self, layers: Sequence[Layer], *, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        constants = [(tf.constant(layer.kernel), tf.constant(layer.bias)) for layer in layers]

        @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE), tf.float32)])
        def network(pixels: tf.Tensor) -> tf.Tensor:
            flow = pixels[..., tf.newaxis]
            for layer, (kernel, bias) in zip(layers, constants, strict=True):
                flow = tf.nn.bias_add(tf.nn.conv2d(flow, kernel, 1, "SAME" if layer.padded else "VALID"), bias)
                flow = tf.nn.relu(flow) if layer.active else flow
                flow = tf.nn.max_pool2d(flow, 2, 2, "VALID") if layer.halved else flow
            return tf.nn.softmax(tf.squeeze(flow, [1, 2]))

        self._network = network.get_concrete_function()

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return the shares of pictures."""
        return self._network(tf.constant(pixels)).numpy()
