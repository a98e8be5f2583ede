"""Errors that a user can mend: said in one line, without a traceback."""

_OURS = ("d2it", "stages", "slurm")


class StageError(ValueError):
    """A stage that cannot run as things are; the message says what is wrong, where, and what is allowed."""


def is_users(error: BaseException) -> bool:
    """Whether `error` needs no traceback: a subclass of ValueError that this project defines for its users."""
    return isinstance(error, ValueError) and type(error).__module__.partition(".")[0] in _OURS
