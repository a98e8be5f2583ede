"""Types of command-line arguments."""

import argparse


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
