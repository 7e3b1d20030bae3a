"""Write EfficientNet-Lite0 as ONNX: `convert.py WEIGHTS.pth FOLDER PHOTO ...` makes fp32.onnx and int8.onnx there.

The architecture is that of the TPU models' authors: MobileNetV2 blocks without squeeze-and-excitation, ReLU6, 224 by
224 pixels. Each batch normalization is folded into the convolution before it. INT8 is static quantization by ONNX
Runtime: what flows was watched on crops of the photographs named, none of which is a point of any dataset.
Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from kit.graph import Graph
from kit.pictures import read
from kit.torch_file import read_weights
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from prepare import SIDE, prepared

STAGES = (  # how often, kernel, stride, widening
    (1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6),
)  # fmt: skip
EPSILON = 1e-3  # of the batch normalizations
CROPS = 64
SEED = 20_250_101


class Network:
    """The network as a graph that grows block by block."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.graph = Graph("efficientnet-lite0")

    def convolved(self, given: str, names: tuple[str, str], stride: int, *, active: bool = True) -> str:
        """Convolve with a normalization folded in, padded as TensorFlow pads, cut to 0..6 where `active`."""
        convolution, norm = names
        kernel = self.weights[f"{convolution}.weight"]
        spread = np.sqrt(self.weights[f"{norm}.running_var"] + EPSILON)
        scale = self.weights[f"{norm}.weight"] / spread
        shift = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * scale
        group = len(kernel) if kernel.shape[1] == 1 and "depthwise" in convolution else 1
        folded = (kernel * scale[:, None, None, None]).astype(np.float32)
        made = self.graph.add("Conv", given, folded, shift.astype(np.float32), group=group, strides=[stride, stride],
                              auto_pad="SAME_UPPER", kernel_shape=list(kernel.shape[2:]))  # fmt: skip
        bounds = (np.array(0, np.float32), np.array(6, np.float32))
        return self.graph.add("Clip", made, *bounds) if active else made

    def block(self, given: str, number: int, stride: int, *, wide: bool) -> str:
        """Widen, convolve each channel, narrow; added to what came in where the shapes allow it."""
        name, flow = f"_blocks.{number}", given
        if wide:
            flow = self.convolved(flow, (f"{name}._expand_conv", f"{name}._bn0"), 1)
        flow = self.convolved(flow, (f"{name}._depthwise_conv", f"{name}._bn1"), stride)
        flow = self.convolved(flow, (f"{name}._project_conv", f"{name}._bn2"), 1, active=False)
        taken = self.weights[f"{name}._expand_conv.weight"].shape[1] if wide else 0
        same = stride == 1 and taken == len(self.weights[f"{name}._project_conv.weight"])
        return self.graph.add("Add", flow, given) if same else flow

    def write(self, path: Path) -> None:
        """Write the whole graph: pictures (n, 3, 224, 224) in, 1,000 shares a picture out."""
        flow = self.graph.input("pictures", np.float32, ["n", 3, SIDE, SIDE])
        flow = self.convolved(flow, ("_conv_stem", "_bn0"), 2)
        number = 0
        for times, _kernel, stride, widening in STAGES:
            for turn in range(times):
                flow = self.block(flow, number, stride if turn == 0 else 1, wide=widening > 1)
                number += 1
        flow = self.convolved(flow, ("_conv_head", "_bn1"), 1)
        flow = self.graph.add("Flatten", self.graph.add("GlobalAveragePool", flow))
        scores = self.graph.add("Gemm", flow, self.weights["_fc.weight"], self.weights["_fc.bias"], transB=1)
        self.graph.output(self.graph.add("Softmax", scores, axis=-1), "shares", ["n", 1000])
        self.graph.write(path)


class Crops(CalibrationDataReader):
    """Crops of photographs at many scales, half of them mirrored, always the same."""

    def __init__(self, photos: list[Path]) -> None:
        draw, self._crops = np.random.default_rng(SEED), []
        pictures = [picture for path in photos if (picture := read(path.read_bytes())) is not None]
        for number in range(CROPS):
            picture = pictures[number % len(pictures)]
            edge = int(min(picture.size) * draw.uniform(0.25, 1))
            left, top = (int(draw.integers(0, size - edge + 1)) for size in picture.size)
            crop = prepared(picture.crop((left, top, left + edge, top + edge)))
            self._crops.append(crop[:, :, ::-1] if number % 2 else crop)
        self._left = iter(self._crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next crop as the network takes it, None after the last."""
        crop = next(self._left, None)
        return None if crop is None else {"pictures": np.ascontiguousarray(crop)[None]}


def main(source: Path, folder: Path, photos: list[Path]) -> None:
    """Write the network in both precisions."""
    Network(read_weights(source)).write(folder / "fp32.onnx")
    quantize_static(
        folder / "fp32.onnx",
        folder / "int8.onnx",
        Crops(photos),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), list(map(Path, sys.argv[3:])))
