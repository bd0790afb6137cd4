"""The networks' weights, read from the `mtcnn` package's files without importing the package.

Importing `mtcnn` imports TensorFlow. Its wheel carries the weights as joblib pickles in LZ4 frames;
a pickle can run any code, so the one here builds arrays of floats and refuses everything else.
"""

import hashlib
import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NETWORKS = ("pnet", "rnet", "onet")


class WeightsError(RuntimeError):
    """The weights are missing or are not what the `mtcnn` package ships."""


def find_weights() -> Path:
    """Return the folder of the weights; raises WeightsError where the `mtcnn` package is not installed."""
    spec = importlib.util.find_spec("mtcnn")  # finds the package, does not import it
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "assets" / "weights"
        if all((folder / f"{name}.lz4").is_file() for name in NETWORKS):
            return folder
    raise WeightsError("MTCNN's weights were not found; they come with the mtcnn package: install mtcnn==1.0.0")


def load_weights(name: str, folder: Path | None = None) -> list[NDArray[np.float32]]:
    """Return the arrays of one network ("pnet", "rnet" or "onet"), float32, in Keras's order and layouts.

    Raises WeightsError when the file is missing, damaged or holds anything but arrays of float32.
    """
    import lz4.frame

    path = (folder or find_weights()) / f"{name}.lz4"
    try:
        arrays = read_arrays(lz4.frame.decompress(path.read_bytes()))
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(f"{path.name} cannot be read: {error}; reinstall mtcnn==1.0.0") from error
    if not isinstance(arrays, list) or not all(
        isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays
    ):
        raise WeightsError(f"{path.name} holds something other than float32 arrays; reinstall mtcnn==1.0.0")
    return arrays


def weights_digest(folder: Path | None = None) -> str:
    """Return twelve hexadecimal digits that change with any of the three weight files."""
    folder = folder or find_weights()
    digest = hashlib.sha256()
    for name in NETWORKS:
        digest.update((folder / f"{name}.lz4").read_bytes())
    return digest.hexdigest()[:12]


def read_arrays(data: bytes) -> Any:
    """Unpickle what joblib wrote for arrays; raises pickle.UnpicklingError for any other global."""
    return _ArrayUnpickler(io.BytesIO(data)).load()


class _JoblibArray:
    """Stands for joblib's `NumpyArrayWrapper`: its state describes the raw bytes that follow it."""

    order: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    numpy_array_alignment_bytes: int | None = None


# The pure-Python unpickler, because joblib puts each array's raw bytes into the pickle stream and
# only this one lets a BUILD instruction be followed by a read of them.
_PythonUnpickler: Any = pickle._Unpickler


class _ArrayUnpickler(_PythonUnpickler):  # type: ignore[misc]
    _ALLOWED = {  # noqa: RUF012 - a constant
        ("joblib.numpy_pickle", "NumpyArrayWrapper"): _JoblibArray,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    dispatch = dict(_PythonUnpickler.dispatch)  # noqa: RUF012

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self._stream = stream

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is refused") from None

    def load_build(self) -> None:
        super().load_build()
        described = self.stack[-1]
        if isinstance(described, _JoblibArray):
            self.stack[-1] = self._read_array(described)

    dispatch[pickle.BUILD[0]] = load_build

    def _read_array(self, described: _JoblibArray) -> NDArray[Any]:
        if described.dtype.hasobject:
            raise pickle.UnpicklingError("it holds an array of objects, which is refused")
        if described.numpy_array_alignment_bytes is not None:
            self._stream.read(self._stream.read(1)[0])  # one byte counts the padding that follows it
        size = int(np.prod(described.shape)) * described.dtype.itemsize
        array = np.frombuffer(self._stream.read(size), dtype=described.dtype)
        if described.order == "F":
            return array.reshape(described.shape[::-1]).T
        return array.reshape(described.shape)
