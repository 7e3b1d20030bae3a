"""A network written down as ONNX, node by node: what the build stages of the vendors make their models with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8  # read by every ONNX Runtime since 2022
_NUMBERS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}

Shape = Sequence[int | str]


class Graph:
    """A graph that grows: every call adds a node and returns the name of what it gives."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: type, shape: Shape) -> str:
        """Declare an input; a letter in the shape stands for any size."""
        self._inputs.append(helper.make_tensor_value_info(name, _NUMBERS[np.dtype(dtype)], list(shape)))
        return name

    def constant(self, array: np.ndarray, name: str | None = None) -> str:
        """Keep an array inside the graph."""
        name = name or f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, *inputs: str | np.ndarray, name: str | None = None, **attributes: object) -> str:
        """Add a node; arrays among its inputs are kept as constants."""
        names = [self.constant(one) if isinstance(one, np.ndarray) else one for one in inputs]
        name = name or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def output(self, source: str, name: str, shape: Shape) -> None:
        """Give something out under a name, as 32-bit floats."""
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def write(self, path: Path) -> None:
        """Check the graph and write it; the same graph gives the same bytes."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name=self._name)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
