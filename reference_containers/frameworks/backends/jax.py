"""The network in JAX: compiled by XLA for each shape that it is asked with."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from network import Layer


class Network:
    """The network with its weights; asked with pictures (n, 8, 8), it answers with shares (n, 10)."""

    def __init__(self, layers: Sequence[Layer], *, threads: int) -> None:
        # XLA reads these when JAX first looks for a device; it has no call for either.
        os.environ["NPROC"] = str(threads)
        os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        import jax  # noqa: PLC0415 - after what it reads
        from jax import lax  # noqa: PLC0415

        constants = [(jax.numpy.asarray(layer.kernel), jax.numpy.asarray(layer.bias)) for layer in layers]

        @jax.jit
        def network(pixels: jax.Array) -> jax.Array:
            flow = pixels[..., None]
            for layer, (kernel, bias) in zip(layers, constants, strict=True):
                padding = "SAME" if layer.padded else "VALID"
                order = ("NHWC", "HWIO", "NHWC")
                flow = lax.conv_general_dilated(flow, kernel, (1, 1), padding, dimension_numbers=order) + bias
                flow = jax.nn.relu(flow) if layer.active else flow
                if layer.halved:
                    square = (1, 2, 2, 1)
                    flow = lax.reduce_window(flow, -np.inf, lax.max, square, square, "VALID")
            return jax.nn.softmax(flow[:, 0, 0, :])

        self._network = network

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return the shares of pictures."""
        return np.asarray(self._network(pixels))
