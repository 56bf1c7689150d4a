"""The one exception that is meant for users: a clear line instead of a traceback."""


class UserError(Exception):
    """Something that the user can mend; the message says what, where and what to do."""
