"""Trainings by a command of one's own: what is given to it, what is read from it, and how it may go wrong."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from parzc.errors import InputError
from parzc.search.training import Outcome, TrainingCommand, substituted
from parzc.tuning.owners import runs

ARCH = '|nor_conv_3x3~0|+|it\'s `$HOME` "x" \\n; rm -rf ~|'
"""An architecture that would do harm if it were not quoted."""
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")


RESULT_OF = "import sys; open(sys.argv[2] + '/result.json', 'w').write('{}')"
"""A training that writes its result and prints nothing."""


def python(code: str, *arguments: str) -> str:
    """Return a command that runs Python code; fields of its arguments are substituted."""
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {' '.join(arguments)}"


def run(code: str, folder: Path, *arguments: str, **options: float) -> Outcome:
    return TrainingCommand(python(code, "{arch}", *arguments), **options).run("width=3", folder)


def wait_for(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    "template", ["{arch} end", '"{arch}" end', "'{arch}' end", '"{arch}"" "end', "{arch} '{other} {}' end"]
)
@POSIX
def test_the_shell_reads_a_field_back_as_it_was(template):
    line = substituted(template, {"arch": ARCH})
    words = subprocess.run(
        f"{shlex.quote(sys.executable)} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' {line}",
        shell=True, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    found = json.loads(words)
    assert found[0].startswith(ARCH)
    assert found[-1].endswith("end")


def test_fields_are_quoted_where_they_stand():
    values = {"arch": "a b", "folder": "it's", "epochs": "12"}
    assert substituted("t --a={arch} --f \"{folder}/m\" -e {epochs} '{folder}'", values) == (
        "t --a='a b' --f \"it's/m\" -e 12 'it'\"'\"'s'"
    )


def test_a_command_is_given_architecture_folder_and_epochs(tmp_path):
    code = "import sys; print('log'); print(*sys.argv[1:], sep='\\n', file=open(sys.argv[2] + '/args', 'w')); print(.5)"
    command = TrainingCommand(python(code, "--arch={arch}", '"{folder}"', "{epochs}"))
    outcome = command.run(ARCH, tmp_path / "one two", epochs=12)
    folder = (tmp_path / "one two").resolve()
    assert (folder / "args").read_text() == f"--arch={ARCH}\n{folder}\n12\n"
    assert (outcome.value, outcome.reason, outcome.epochs) == (0.5, "", 0)
    assert (folder / "stdout.txt").read_text() == "log\n0.5\n"


def test_the_last_line_is_the_value_and_the_seconds_pass(tmp_path):
    outcome = run("import time; time.sleep(.3); print('loss 2'); print('91.25\\n\\n')", tmp_path)
    assert outcome.value == 91.25
    assert 0.3 <= outcome.seconds < 5


def test_a_result_file_comes_before_the_output(tmp_path):
    code = """import json, sys
print(3)
json.dump({"value": 7, "seconds": 0.5, "epochs": 12}, open(sys.argv[2] + "/result.json", "w"))"""
    assert run(code, tmp_path, "{folder}") == Outcome(7.0, 0.5, 12.0)


def test_a_result_file_of_an_earlier_attempt_is_not_read(tmp_path):
    (tmp_path / "result.json").write_text('{"value": 7}')
    (tmp_path / "checkpoint").write_text("kept")
    assert "printed nothing" in run("pass", tmp_path).reason
    assert (tmp_path / "checkpoint").read_text() == "kept"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "it printed nothing and wrote no result.json"),
        ("print('accuracy 3')", "the last line that it printed is 'accuracy 3', not a number"),
        ("print('90_5')", "the last line that it printed is '90_5', not a number"),
        ("print(float('nan'))", "its value is nan"),
        ("print('inf')", "its value is inf"),
        ("import sys; print(3); sys.exit(4)", "it ended with exit status 4"),
        ("import sys; sys.stderr.write('1\\n2\\n\\n3\\n4\\n'); sys.exit(1)", "it ended with exit status 1: 2 | 3 | 4"),
        ("import sys; open(sys.argv[2] + '/result.json', 'w').write('{')", "its result.json is no JSON"),
        ("import sys; open(sys.argv[2] + '/result.json', 'w').write('[1]')", "its result.json has no 'value'"),
        ("import sys; open(sys.argv[2] + '/result.json', 'w').write('{\"value\": \"3\"}')", "is '3', not a number"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n')", "not a number"),
        ("print('1_0')", "the last line that it printed is '1_0', not a number"),
        ("print('x' * 70_000 + '93')", "not a number"),
        (RESULT_OF.format('{"value": 1' + 400 * "0" + "}"), "'value' of its result.json is too large for a number"),
        (RESULT_OF.format('{"value": 3, "seconds": -3}'), "'seconds' of its result.json is -3; it has to be 0 or more"),
        (RESULT_OF.format('{"value": 3, "seconds": Infinity}'), "'seconds' of its result.json is inf"),
        (RESULT_OF.format('{"value": 3, "epochs": -1}'), "'epochs' of its result.json is -1; it has to be 0 or more"),
    ],
)
def test_what_goes_wrong_is_the_reason(code, reason, tmp_path):
    outcome = run(code, tmp_path, "{folder}")
    assert math.isnan(outcome.value)
    assert reason in outcome.reason
    assert outcome.seconds > 0


def test_an_error_is_quoted_at_its_end(tmp_path):
    outcome = run("import sys; print('x' * 90_000 + '\\nlast', file=sys.stderr); raise ValueError('no data')", tmp_path)
    assert outcome.reason.startswith("it ended with exit status 1: ")
    assert outcome.reason.endswith("ValueError: no data")
    assert len(outcome.reason) < 600


@POSIX
def test_a_signal_is_named(tmp_path):
    outcome = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert outcome.reason.startswith("it was ended by the signal SIGKILL")


FAMILY = """import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, file=open(sys.argv[2] + "/started", "w"), flush=True)
os.rename(sys.argv[2] + "/started", sys.argv[2] + "/pids")
if len(sys.argv) == 3:
    time.sleep(60)
print(1)
"""


def pids(folder: Path) -> list[int]:
    assert wait_for((folder / "pids").exists)
    return [int(word) for word in (folder / "pids").read_text().split()]


@POSIX
def test_the_time_limit_ends_a_training_with_all_its_processes(tmp_path):
    begin = time.monotonic()
    outcome = run(FAMILY, tmp_path, "{folder}", time_limit=1.5)
    assert time.monotonic() - begin < 10
    assert outcome.reason == "it was ended after 1.5 s, the time limit"
    assert wait_for(lambda: not any(map(runs, pids(tmp_path))))


@POSIX
def test_what_a_training_leaves_running_is_ended(tmp_path):
    outcome = run(FAMILY, tmp_path, "{folder}", "leave")
    assert outcome.value == 1
    assert wait_for(lambda: not any(map(runs, pids(tmp_path))))


@POSIX
def test_a_training_is_stopped_with_all_its_processes(tmp_path):
    stop, outcomes = threading.Event(), []
    command = TrainingCommand(python(FAMILY, "{arch}", "{folder}"))
    thread = threading.Thread(target=lambda: outcomes.append(command.run("a", tmp_path, stop=stop)))
    thread.start()
    started = pids(tmp_path)
    assert all(map(runs, started))
    stop.set()
    thread.join(10)
    assert outcomes[0].interrupted and not outcomes[0].reason
    assert wait_for(lambda: not any(map(runs, started)))


@POSIX
def test_trainings_of_a_search_that_is_killed_end_too(tmp_path):
    search = subprocess.Popen([
        sys.executable, "-c",
        "import sys; from pathlib import Path; from parzc.search.training import TrainingCommand\n"
        "TrainingCommand(sys.argv[1]).run('a', Path(sys.argv[2]))",
        python(FAMILY, "{arch}", "{folder}"), str(tmp_path),
    ])  # fmt: skip
    assert wait_for((tmp_path / "pids").exists, 60)
    started = pids(tmp_path)
    search.send_signal(signal.SIGKILL)
    search.wait()
    assert wait_for(lambda: not any(map(runs, started)))


@pytest.mark.parametrize(
    ("template", "limit", "sentence"),
    [
        ("python train.py {architecture}", None, r"does not name the architecture; write \{arch\}"),
        ("python 'train.py {arch}", None, "opens a quote ' and does not close it"),
        ("python train.py {arch}", 0, "the time limit 0 is no time"),
        ("python train.py {arch}", math.nan, "the time limit nan is no time"),
    ],
)
def test_what_cannot_be_a_command_is_refused(template, limit, sentence):
    with pytest.raises(InputError, match=sentence):
        TrainingCommand(template, limit)
