"""Progress of long work."""

import re

import pytest

from parzc.features.extraction.progress import Progress


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


def test_failures_and_the_estimated_end_are_said(capsys):
    with Progress(100_000, every=0.0) as progress:
        progress._start -= 100.0
        progress.update(10, failed=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"10 of 100000 archs, 0\.10 a second, 166\d\d\.\d minutes left, until about \w+ \d\d:\d\d, 3 failed", line
    )


def test_the_summary_says_what_took_how_long(capsys):
    with Progress(4, every=3600.0) as progress:
        progress.spend(3, {"forward": 3.0, "snip": 0.5})
        progress.spend(1, {"forward": 3.0, "snip": 0.0, "params": 1.5})
        progress.update(4)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "2.0000 seconds for one arch:",
        "forward    1.5000   75%",
        " params    0.3750   19%",
        "   snip    0.1250    6%",
    ]


def test_there_is_no_summary_of_nothing_or_of_work_that_was_broken_off(capsys):
    with Progress(4, every=3600.0):
        pass
    with pytest.raises(KeyboardInterrupt), Progress(4, every=3600.0) as progress:
        progress.spend(1, {"forward": 1.0})
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
