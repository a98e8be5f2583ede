"""Types of command-line arguments."""

import argparse
import re


def positive_int(text: str) -> int:
    """A whole number from 1 on, for `add_argument(type=...)`.

    Raises:
        ArgumentTypeError, ValueError: it is none; argparse says so in one line.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def positive_float(text: str) -> float:
    """A number above 0, for `add_argument(type=...)`.

    Raises:
        ArgumentTypeError, ValueError: it is none; argparse says so in one line.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return number


def seconds(text: str) -> float:
    """A duration such as 3h, 1.5h, 45min or 90s, for `add_argument(type=...)`.

    Raises:
        ArgumentTypeError: it is none.
    """
    units = {"h": 3600.0, "min": 60.0, "s": 1.0}
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(h|min|s)", text)
    if match is None or not float(match[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a time above 0, such as 3h, 45min or 90s")
    return float(match[1]) * units[match[2]]
