"""Progress of long work."""

import re

from parzc.features.progress import Progress


def test_plain_lines_say_count_rate_and_time_left(capsys):
    with Progress(10, done=4, unit="arch", every=0.0) as progress:
        progress.update(3)
        progress.update(3)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "4 of 10 archs are done already"
    assert re.fullmatch(r"7 of 10 archs, [\d.]+ a second, [\d.]+ minutes left", second)
    assert third.startswith("10 of 10 archs") and third.endswith(" 0.0 minutes left")


def test_lines_come_only_now_and_then_but_the_last_always(capsys):
    with Progress(3, every=3600.0) as progress:
        for _ in range(3):
            progress.update(1)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["3 of 3 archs"]


def test_nothing_is_shown_when_not_asked_for(capsys):
    with Progress(2, shown=False, every=0.0) as progress:
        progress.update(2)
    assert capsys.readouterr() == ("", "")
