"""The sentence of an error is one line, whatever it quotes."""

import pickle

from parzc.errors import InputError


def test_what_cannot_be_printed_is_escaped():
    error = InputError("'a\nb\x1b[31m\udc80é' is no arch")
    assert str(error) == r"'a\nb\x1b[31m\udc80é' is no arch"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
