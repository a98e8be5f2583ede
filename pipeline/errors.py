"""Errors of the workflow that a user can mend."""

from d2it.errors import UserError


class StageError(UserError):
    """A stage that cannot run as things are; the message says in one line what is wrong, where, and what is allowed."""
