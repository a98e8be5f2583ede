"""YAML as DVC reads it: version 1.2, plain values, and an error in one line."""

from typing import Any

import pytest

from d2it.yaml import YAMLError, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("1E4", 1e4),
        ("4:00:00", "4:00:00"),
        ("{time: 4:00:00}", {"time": "4:00:00"}),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("010", 10),
        ("~", None),
        ("", None),
        ("[8, 16]", [8, 16]),
        ("{a: {b: 0.5}} # comment", {"a": {"b": 0.5}}),
        ("'ε'", "ε"),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = read_yaml(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\t- 1", "a: 1\na: 2", "!!python/object/apply:os.getcwd []", "%x", "*a", "\x00"]
)
def test_what_is_not_plain_yaml_gives_one_line(text: str) -> None:
    with pytest.raises(YAMLError) as caught:
        read_yaml(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_says_where() -> None:
    with pytest.raises(YAMLError, match="line 3, column 1"):
        read_yaml("a: [1,\n2,\n")
