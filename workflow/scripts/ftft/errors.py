"""The one kind of failure that is the user's to mend."""


class UserError(Exception):
    """Something a user can cause and mend: reported as one line, never as a traceback.

    The message names the thing, what was found, what is allowed, and what to do.
    """
