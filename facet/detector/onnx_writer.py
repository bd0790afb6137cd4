"""Just enough of the ONNX file format to write a small convolutional network.

An ONNX file is a protocol-buffers message; the field numbers below are those of `onnx.proto3`.
Writing it by hand saves the `onnx` package, which nothing else here needs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_IR_VERSION = 9
_OPSET = 17
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7  # AttributeProto.AttributeType


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message: an int as a varint, anything else with its length before it."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, _ATTRIBUTE_INT)
    return _field(1, name) + b"".join(_field(8, int(v)) for v in value) + _field(20, _ATTRIBUTE_INTS)


def _value_info(name: str, shape: Sequence[int | str]) -> bytes:
    """A float tensor's name and shape; a dimension given by a name may take any size."""
    dims = b"".join(_field(1, _field(1 if isinstance(d, int) else 2, d)) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


class OnnxGraph:
    """Collects nodes; tensors are referred to by the names that `constant` and `node` return."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Add an initialiser, as int64 or else as float32."""
        integral = array.dtype.kind == "i"
        array = np.ascontiguousarray(array, np.int64 if integral else np.float32)
        name = f"constant{len(self._constants)}"
        self._constants.append(
            b"".join(_field(1, int(size)) for size in array.shape)
            + _field(2, _INT64 if integral else _FLOAT)
            + _field(8, name)
            + _field(9, array.tobytes())
        )
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: int | Sequence[int]) -> str:
        """Add an operator with one output and return that output's name."""
        return self.split_node(operator, *inputs, outputs=[output] if output else 1, **attributes)[0]

    def split_node(
        self, operator: str, *inputs: str, outputs: int | list[str], **attributes: int | Sequence[int]
    ) -> list[str]:
        """Add an operator with several outputs, named or only counted, and return their names."""
        label = f"{operator}{len(self._nodes)}"
        names = outputs if isinstance(outputs, list) else [f"{label}_{i}" for i in range(outputs)]
        self._nodes.append(
            b"".join(_field(1, name) for name in inputs)
            + b"".join(_field(2, name) for name in names)
            + _field(3, label)
            + _field(4, operator)
            + b"".join(_field(5, _attribute(key, value)) for key, value in attributes.items())
        )
        return names

    def model(self, name: str, inputs: Sequence[int | str], outputs: Sequence[int | str]) -> bytes:
        """Return the file's bytes; the tensors "input" and "output" have these shapes."""
        graph = (
            b"".join(_field(1, node) for node in self._nodes)
            + _field(2, name)
            + b"".join(_field(5, constant) for constant in self._constants)
            + _field(11, _value_info("input", inputs))
            + _field(12, _value_info("output", outputs))
        )
        opset = _field(1, "") + _field(2, _OPSET)
        return _field(1, _IR_VERSION) + _field(2, "facet") + _field(7, graph) + _field(8, opset)
