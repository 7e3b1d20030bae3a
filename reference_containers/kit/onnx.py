"""ONNX Runtime as the reference vendors use it: one thread, no telemetry, on the processor."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

ENGINE = "onnxruntime"
ENGINE_VERSION = onnxruntime.__version__


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session over a model in ONNX's or ONNX Runtime's own format, with one thread for one processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
