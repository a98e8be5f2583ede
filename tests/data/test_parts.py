from pathlib import Path

import numpy as np
import pytest

from d2it.data.parts import DamagedPartError, Parts

ARRAYS = (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array(0.5), np.empty((0, 2), np.float16))


def test_a_part_comes_back_as_it_was_and_another_is_not_there(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "new")
    assert not parts.has(7)
    parts.save(7, ARRAYS)
    for restored, expected in zip(Parts(tmp_path / "new").load(7), ARRAYS, strict=True):
        assert restored.dtype == expected.dtype
        np.testing.assert_array_equal(restored, expected)
    assert not parts.has(8)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["part-000007"]


@pytest.mark.parametrize("keep", [0, 20, 100, -1])
def test_a_truncated_part_is_not_taken_for_whole(tmp_path: Path, keep: int) -> None:
    parts = Parts(tmp_path)
    parts.save(0, ARRAYS)
    parts.path(0).write_bytes(parts.path(0).read_bytes()[:keep])
    assert not parts.has(0)
    with pytest.raises(DamagedPartError, match="part-000000: not what was written"):
        parts.load(0)
    parts.save(0, ARRAYS)
    assert parts.has(0)


def test_a_changed_byte_anywhere_is_seen(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.save(0, ARRAYS)
    content = parts.path(0).read_bytes()
    for place in range(0, len(content), 7):
        parts.path(0).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert not parts.has(0)


def test_what_a_kill_leaves_of_a_part_is_no_part(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.save(0, ARRAYS)
    parts.path(0).rename(parts.path(0).with_suffix(".new"))  # not renamed yet
    assert not parts.has(0)
