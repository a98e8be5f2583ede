"""Following a log that grows."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from slurm.log import Follower


@given(st.text(alphabet="aü\n", max_size=40), st.lists(st.integers(0, 60), max_size=5))
def test_each_line_comes_once_and_in_order_however_the_file_grows(text: str, cuts: list[int]) -> None:
    content = text.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        shown: list[str] = []
        follower = Follower(path, shown.append)
        follower.pump()  # before there is a file
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(content)], strict=True):
            with path.open("ab") as file:
                file.write(content[start:end])
            follower.pump()
        follower.pump(end=True)
    lines = text.split("\n")
    assert shown == (lines[:-1] if lines[-1] == "" else lines)


def test_a_line_is_not_shown_before_its_end_is_there(tmp_path: Path) -> None:
    shown: list[str] = []
    path = tmp_path / "log"
    follower = Follower(path, shown.append)
    path.write_text("one\ntw")
    follower.pump()
    assert shown == ["one"]


def test_the_last_lines_are_kept_without_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{i}\n\n" for i in range(100)))
    follower = Follower(path, lambda _: None, remember=3)
    follower.pump(end=True)
    assert list(follower.last) == ["97", "98", "99"]
