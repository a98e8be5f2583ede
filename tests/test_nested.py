"""Nested sections are named as in params.yaml, and what differs between two is named in one line."""

from d2it.nested import differences, flatten


def test_nested_sections_are_named_as_in_params_yaml() -> None:
    nested = {"content_transformer": {"layers": 4, "deep": {"x": [1]}}, "seed": 0}
    assert flatten(nested) == {"content_transformer.layers": 4, "content_transformer.deep.x": [1], "seed": 0}


def test_only_what_differs_is_named_on_both_sides_and_hashes_are_short() -> None:
    one = {"window": 4, "width": 8, "data": "a" * 64}
    assert differences(one, {"width": 8, "data": "b" * 64}) == (
        f"data {'a' * 12}..., window 4",
        f"data {'b' * 12}..., window absent",
    )
    assert differences(one, one) == ("", "")


def test_a_long_list_is_cut() -> None:
    theirs, ours = differences({str(i): i for i in range(10)}, {})
    assert theirs == "0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 4 more"
    assert ours.endswith("4 more")
