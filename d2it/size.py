"""Height and width: of images in pixels, of grids in codes or regions. Squares are written as one number."""

from collections.abc import Sequence
from typing import NamedTuple


class Size(NamedTuple):
    """(height, width), each at least 1."""

    height: int
    width: int

    @classmethod
    def of(cls, given: int | Sequence[int]) -> "Size":
        """From what a file or a caller says: one number for a square, or [height, width].

        Raises:
            ValueError: it is neither.
        """
        match [given, given] if isinstance(given, int) else given:
            case [int(height), int(width)] if min(height, width) > 0 and bool not in (type(height), type(width)):
                return cls(height, width)
        raise ValueError(f"{given!r}: must be a whole number above 0, or two, [height, width]")

    @property
    def plain(self) -> int | list[int]:
        """The inverse of `of`, for files: one number for a square."""
        return self.height if self.height == self.width else list(self)

    @property
    def area(self) -> int:
        """height x width."""
        return self.height * self.width

    def times(self, n: int) -> "Size":
        """n times as high and as wide."""
        return Size(self.height * n, self.width * n)

    def divided(self, n: int) -> "Size":
        """The n-th part of both, rounded down."""
        return Size(self.height // n, self.width // n)

    def __str__(self) -> str:
        return f"{self.height} x {self.width}" + ("" if self.height == self.width else " (height x width)")
