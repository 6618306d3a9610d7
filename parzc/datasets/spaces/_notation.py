"""The dictionary of a space of choices, and the strings `width=16,kernel=3` that name its members."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from parzc.datasets.spaces._decisions import Choice, Decision
from parzc.errors import InputError

Choosable = Iterable[Choice] | Mapping[Choice, Mapping[str, Any]]
"""The choices of a decision, or each choice with the decisions that exist only where it is made."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_TEXT = re.compile(r"[^,=()'\"\s](?:[^,=()'\"\n\r\t]*[^,=()'\"\s])?")
_COMMA = re.compile(r",(?![^()]*\))")


def read_choices(choices: Mapping[str, Choosable], prefix: str = "") -> tuple[Decision, ...]:
    """Return the decisions of a dictionary, each behind its parent; see `Choices`.

    Raises:
        InputError: if it is empty, or a name or a choice of it cannot be used; the decision is named.
    """
    if not isinstance(choices, Mapping) or not (choices or prefix):
        raise InputError('choices are a dictionary with at least one decision, like {"width": [16, 32]}')
    decisions: dict[str, Decision] = {}
    for key, given in choices.items():
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            raise InputError(f"{key!r:.100} names no decision; give letters, digits and _, like 'kernel_size'")
        name = prefix + key
        own = Decision(name, _checked(name, given))
        decisions[name] = own
        nested = given if isinstance(given, Mapping) else {}
        for choice, below in nested.items():
            for decision in _below(own, choice, below):
                decisions[decision.name] = _joined(decisions.get(decision.name), decision)
    return tuple(decisions.values())


def _below(parent: Decision, choice: Choice, below: object) -> list[Decision]:
    if not isinstance(below, Mapping):
        raise InputError(
            f"'{parent.name}' gives {choice!r} no dictionary of further decisions; write {{}} where there are none"
        )
    found = read_choices(below, f"{parent.name}.") if below else ()
    return [d if d.parent else Decision(d.name, d.choices, parent.name, (choice,)) for d in found]


def _joined(known: Decision | None, more: Decision) -> Decision:
    """Return one decision for two of the same name, which belong to different choices of one parent."""
    if known is None:
        return more
    if (known.choices, known.parent) != (more.choices, more.parent):
        raise InputError(
            f"'{more.name}' has other choices where '{more.parent}' is {more.requires[0]!r} than elsewhere; give the "
            "decisions different names"
        )
    requires = tuple(dict.fromkeys((*known.requires, *more.requires)))
    return Decision(known.name, known.choices, known.parent, requires)


def _checked(name: str, given: object) -> tuple[Choice, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InputError(f"the choices of '{name}' are {given!r:.100}; give a list like [16, 32]")
    choices = tuple(given)
    if not choices:
        raise InputError(f"'{name}' has no choices; give at least one")
    texts: dict[str, Choice] = {}
    for index, choice in enumerate(choices):
        text = written(name, choice)
        if text in texts or choice in choices[:index]:
            raise InputError(f"'{name}' has the choice {choice!r} twice, or one equal to it; remove one")
        texts[text] = choice
    return choices


def written(name: str, choice: object) -> str:
    """Return how a choice stands in an architecture string.

    Raises:
        InputError: if it is nothing that a decision may have.
    """
    if isinstance(choice, tuple):
        if any(isinstance(part, tuple) for part in choice):
            raise InputError(f"'{name}' has the choice {choice!r:.100}; tuples in tuples cannot be written")
        return f"({','.join(written(name, part) for part in choice)})"
    if isinstance(choice, str):
        if not _TEXT.fullmatch(choice) or not choice.isprintable():
            raise InputError(
                f"'{name}' has the choice {choice!r:.100}; a text is not empty, and without commas, quotes, =, "
                "parentheses, and blanks at its ends"
            )
        return choice
    if choice is None or type(choice) in (bool, int) or (type(choice) is float and math.isfinite(choice)):
        return repr(choice)
    raise InputError(
        f"'{name}' has the choice {choice!r:.100}; give numbers, booleans, texts, None, or tuples of these"
    )


def write_arch(chosen: Mapping[str, Choice], decisions: Iterable[Decision]) -> str:
    """Return the architecture string of choices: those of active decisions, in the order of the decisions."""
    return ",".join(f"{d.name}={written(d.name, chosen[d.name])}" for d in decisions if d.name in chosen)


def read_arch(arch: str, decisions: tuple[Decision, ...]) -> dict[str, Choice]:
    """Return the choices that an architecture string spells, in any order; unchecked but for their spelling.

    Raises:
        InputError: if it is not in the notation, or names an unknown decision or choice.
    """
    known = {decision.name: decision for decision in decisions}
    chosen: dict[str, Choice] = {}
    for part in _COMMA.split(arch):
        name, equals, text = (piece.strip(" ") for piece in part.partition("="))
        if not equals or name not in known or name in chosen:
            what = "is there twice" if name in chosen else "is no decision"
            raise InputError(f"'{name[:60]}' {what}")
        chosen[name] = read_choice(text, known[name])
    return chosen


def read_choice(text: str, decision: Decision) -> Choice:
    """Return the choice of a decision that a text spells; a whole number may be spelled as `16.0`.

    Raises:
        InputError: if it spells none.
    """
    texts = {written(decision.name, choice): choice for choice in decision.choices}
    if text in texts:
        return texts[text]
    if text.endswith(".0") and type(texts.get(text[:-2])) is int:
        return texts[text[:-2]]
    raise InputError(f"'{decision.name}' cannot be '{text[:60]}'; give {', '.join(texts)}"[:400])
