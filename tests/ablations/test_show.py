"""The table of DVC's experiments."""

from typing import Any

import pytest

from ablations.show import WIDTH, Line, lines, table

NOW = 1_800_000_000.0
THEN = "2027-01-15T06:00:00+00:00"  # two hours before


def state(rev: str, window: int, kid: float | None = None, **more: Any) -> dict[str, Any]:
    """As `dvc exp show --json` has it."""
    metrics = {} if kid is None else {"outputs/fid/metrics.json": {"data": {"kid_dinov2": kid, "other": 1.0}}}
    params = {"refinenet": {"window": window, "layers": 2}, "fid": {"extractor": "dinov2"}}
    data = {"params": {"params.yaml": {"data": params}}, "metrics": metrics, "timestamp": THEN}
    return {"rev": rev, "name": None, "data": data, "experiments": None} | more


def experiment(name: str, of: dict[str, Any], progress: str | None = None) -> dict[str, Any]:
    return {"revs": [of], "name": name, "executor": progress and {"state": progress}}


SHOWN = [
    state("workspace", 8),
    state("c0ffee0" * 5, 8, 0.15, name="main", experiments=[
        experiment("window-4", state("a" * 40, 4, 0.14)),
        experiment("window-2", state("b" * 40, 2), "queued"),
        experiment("lost", {"rev": "c" * 40, "data": None, "error": {"msg": "no such file"}}, "failed"),
    ]),
    state("d" * 40, 8, name="older, without experiments"),
]  # fmt: skip


def test_an_experiment_is_a_line_with_what_differs_from_the_workspace_its_numbers_and_its_age() -> None:
    assert [(line.name, line.differs, line.age) for line in lines(SHOWN, NOW)] == [
        ("workspace", "", "2 h"),
        ("main (commit)", "", "2 h"),
        ("  window-4", "refinenet.window=4", "2 h"),
        ("  window-2 (queued)", "refinenet.window=2", "2 h"),
        ("  lost (failed)", "unreadable: no such file", ""),
    ]
    assert [line.numbers for line in lines(SHOWN, NOW)][2] == {"kid": ("kid_dinov2", 0.14)}


def test_the_table_explains_its_short_names() -> None:
    text = table([*lines(SHOWN, NOW)])
    assert text.splitlines()[0].split() == ["differs", "in", "kid", "age"]
    assert text.splitlines()[-1] == "Numbers: kid_dinov2"
    assert "  window-4" in text


@pytest.mark.parametrize("name", ["window-4", "refinenet-window-and-something-else-seed0-" + "a1" * 20])
def test_the_table_fits_a_terminal_however_much_differs(name: str) -> None:
    numbers = {f"number_{i}": (f"number_{i}", 1234.0) for i in range(4)}
    many = " ".join(f"content_transformer.setting_{i}={i}" for i in range(30))
    text = table([Line(name=name, differs=many, numbers=numbers, age="12 min")])
    assert max(map(len, text.splitlines()[:-1])) <= WIDTH
    assert "29=29" in text
