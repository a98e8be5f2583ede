"""Lists of numbers as people type them."""

import argparse
import re


def number_list(text: str) -> list[int]:
    """'0-3,7' to [0, 1, 2, 3, 7], for `add_argument(type=...)`.

    Raises:
        ArgumentTypeError: it is no such list; argparse says so in one line.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise argparse.ArgumentTypeError(f"{text!r}: must be numbers such as 0-3 or 3,3,7")
        numbers += range(first, last + 1)
    return numbers
