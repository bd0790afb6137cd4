"""Just enough of the ONNX file format to write a small convolutional network.

An ONNX file is a protocol-buffers message; the field numbers below are those of `onnx.proto3`.
Writing it by hand saves the `onnx` package, and always gives the same bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_IR_VERSION = 9
_OPSET = 17
DATA_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}  # TensorProto.DataType
_CONTRIBUTED = "com.microsoft"  # ONNX Runtime's own operators, beside the standard's
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


def _value_info(name: str, shape: Sequence[int | str], dtype: str = "float32") -> bytes:
    """A tensor's name, shape and type; a dimension given by a name may take any size."""
    dims = b"".join(_field(1, _field(1 if isinstance(d, int) else 2, d)) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, DATA_TYPES[dtype]) + _field(2, dims)))


class OnnxGraph:
    """Collects nodes; tensors are referred to by the names that `constant` and `node` return."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, array: NDArray[Any]) -> str:
        """Add an initialiser of the array's type; float64 becomes float32."""
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant{len(self._constants)}"
        self._constants.append(
            b"".join(_field(1, int(size)) for size in array.shape)
            + _field(2, DATA_TYPES[array.dtype.name])
            + _field(8, name)
            + _field(9, array.tobytes())
        )
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: int | Sequence[int]) -> str:
        """Add an operator with one output and return that output's name."""
        return self.split_node(operator, *inputs, outputs=[output] if output else 1, **attributes)[0]

    def contributed_node(self, operator: str, *inputs: str, output: str = "", **attributes: int | Sequence[int]) -> str:
        """`node` for an operator of ONNX Runtime's own."""
        name = self.node(operator, *inputs, output=output, **attributes)
        self._nodes[-1] += _field(7, _CONTRIBUTED)
        return name

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

    def model(self, name: str, inputs: Sequence[int | str], **outputs: tuple[str, Sequence[int | str]]) -> bytes:
        """Return the file's bytes: "input" is float32 of this shape; `outputs` are types and shapes by name."""
        graph = (
            b"".join(_field(1, node) for node in self._nodes)
            + _field(2, name)
            + b"".join(_field(5, constant) for constant in self._constants)
            + _field(11, _value_info("input", inputs))
            + b"".join(_field(12, _value_info(name, shape, dtype)) for name, (dtype, shape) in outputs.items())
        )
        opsets = [_field(1, "") + _field(2, _OPSET), _field(1, _CONTRIBUTED) + _field(2, 1)]
        return _field(1, _IR_VERSION) + _field(2, "facet") + _field(7, graph) + b"".join(_field(8, o) for o in opsets)
