"""Ways to end early that are no defect of the program."""


class UserError(Exception):
    """Something a user can cause and mend: reported as one line, never as a traceback.

    The message names the thing, what was found, what is allowed, and what to do.
    """


class InterruptedRunError(Exception):
    """A run was asked to stop and has saved its state; started again, it goes on from there."""
