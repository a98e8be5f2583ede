"""The kind of error that needs no traceback."""


class UserError(ValueError):
    """Something that the user can mend; the message says in one line what is wrong, where, and what is allowed."""
