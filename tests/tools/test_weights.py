import io
import os
import pickle
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest

from tools.models.weights import NETWORKS, WeightsError, find_weights, load_weights, read_arrays, weights_digest


def test_weights_are_joblibs() -> None:
    joblib = pytest.importorskip("joblib")  # comes with the mtcnn package
    for name in NETWORKS:
        expected = joblib.load(find_weights() / f"{name}.lz4")
        found = load_weights(name)
        assert len(found) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo attacked",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Attack()),
        pickle.dumps([np.float32(1), Path("x")]),
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cnumpy.f2py\nrun_main\n.",
        b"cjoblib.numpy_pickle\nload\n.",
    ],
)
def test_anything_but_arrays_is_refused(data: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError, match="which is refused"):
        read_arrays(data)


def test_arrays_of_objects_are_refused() -> None:
    joblib = pytest.importorskip("joblib")
    stream = io.BytesIO()
    joblib.dump([np.array([Attack()], dtype=object)], stream)

    with pytest.raises(pickle.UnpicklingError, match="refused"):
        read_arrays(stream.getvalue())


@pytest.mark.parametrize(
    "content",
    [
        b"not LZ4",
        lz4.frame.compress(b""),
        lz4.frame.compress(pickle.dumps(Attack())),
        lz4.frame.compress(pickle.dumps([1, 2])),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pnet.lz4").write_bytes(content)

    with pytest.raises(WeightsError, match=r"pnet\.lz4.*reinstall mtcnn"):
        load_weights("pnet", tmp_path)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = lz4.frame.decompress((find_weights() / "pnet.lz4").read_bytes())
    (tmp_path / "pnet.lz4").write_bytes(lz4.frame.compress(whole[: len(whole) // 2]))

    with pytest.raises(WeightsError):
        load_weights("pnet", tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(WeightsError, match=r"install mtcnn==1\.0\.0"):
        find_weights()


def test_the_digest_follows_the_weights(tmp_path: Path) -> None:
    for name in NETWORKS:
        (tmp_path / f"{name}.lz4").write_bytes((find_weights() / f"{name}.lz4").read_bytes())
    assert weights_digest(tmp_path) == weights_digest()

    (tmp_path / "onet.lz4").write_bytes(b"other")

    assert weights_digest(tmp_path) != weights_digest()
