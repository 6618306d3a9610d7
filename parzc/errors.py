"""Errors that a user can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence that names the file, row or option and what to do.

    The commands print the sentence and leave with exit status 2.
    """
