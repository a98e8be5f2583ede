"""The kinds of error that need no traceback."""


class UserError(ValueError):
    """Something that the user can mend; the message says in one line what is wrong, where, and what is allowed."""


class NonFiniteError(UserError):
    """NaN or infinity where there must be a number; the message says what holds it."""
