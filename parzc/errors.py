"""Errors that a user can act on."""


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence that names the file, row or option and what to do.

    The commands print the sentence and leave with exit status 2. What is quoted in it may hold line breaks and control
    characters; they are written as escapes, so that it stays one line and does nothing to a terminal.
    """

    def __init__(self, sentence: str = "") -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence))
