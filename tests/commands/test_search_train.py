"""`search.py --train`: real commands that train, fail, hang and are interrupted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from scripts import ROOT

from parzc.commands import search

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")
SPACE = """
from torch import nn
from parzc import Choices

def build(width, kernel, skip):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.Linear(width, 10))

space = Choices(build, {"width": [2, 3, 4, 5, 6, 7, 8, 9], "kernel": [3, 5], "skip": [False, True]}, name="made",
                input_shape=(3, 8, 8))
"""
TRAIN = """
import json, os, signal, sys, time
arch, folder, mode = sys.argv[1:4]
chosen = dict(part.split("=") for part in arch.split(","))
value = 10 * int(chosen["width"]) + int(chosen["kernel"])
with open(os.path.join(os.path.dirname(sys.argv[0]), "log"), "a") as log:
    log.write(arch + " " + os.path.basename(folder) + "\\n")
width = int(chosen["width"]) if mode == "odd" else 0
if mode == "fail":
    raise ValueError("no images")
if mode.startswith("slow"):
    time.sleep(float(mode[4:]))
if width == 3:
    print("start", flush=True); time.sleep(60)
if width == 4:
    sys.exit("the loss is nan")
if width == 5:
    print("done")
if width == 6:
    os.kill(os.getpid(), signal.SIGKILL)
if width not in (5, 7):
    json.dump({"value": value, "epochs": 3}, open(folder + "/result.json", "w"))
"""
REASONS = {
    3: "it was ended after 2 s, the time limit",
    4: "it ended with exit status 1: the loss is nan",
    5: "the last line that it printed is 'done', not a number",
    6: "it was ended by the signal SIGKILL",
    7: "it printed nothing and wrote no result.json",
}


@pytest.fixture
def made(tmp_path):
    """The options of a search of a made-up space, but for the mode of its training script."""
    (tmp_path / "space.py").write_text(SPACE)
    (tmp_path / "train.py").write_text(TRAIN)

    def options(mode, *more):
        train = f"{shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / 'train.py'))} {{arch}} {{folder}} {mode}"
        out = str(tmp_path / "out")
        return ["--space", f"{tmp_path}/space.py:space", "--train", train, "--algorithm", "random", "--out", out, *more]

    return options


def trials_of(folder):
    return json.loads((folder / "out" / "search.json").read_text())["seeds"][0]["trials"]


def log_of(folder):
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def expected(arch):
    chosen = dict(part.split("=") for part in arch.split(","))
    return 10 * int(chosen["width"]) + int(chosen["kernel"])


def start(arguments):
    """Start the command as a terminal does, with Ctrl-C switched on, which background jobs of a shell have off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "search.py"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def wait_for(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_values_come_from_the_command(made, tmp_path, capsys):
    search.main(made("plain", "--trainings", "6", "--jobs", "2"))
    trials = trials_of(tmp_path)
    assert [trial["number"] for trial in trials] == list(range(6))
    for trial in trials:
        assert (trial["state"], trial["value"], trial["epochs"]) == ("complete", expected(trial["arch"]), 0)
        assert 0 < trial["seconds"] < 60
    assert sorted(log_of(tmp_path)) == sorted(f"{trial['arch']} {trial['number']:04d}" for trial in trials)
    record = json.loads((tmp_path / "out" / "search.json").read_text())
    assert (record["table"], record["target"], record["report"]) == (None, None, None)
    assert record["seeds"][0]["best"]["value"] == max(trial["value"] for trial in trials)
    assert "6 of 6: " in capsys.readouterr().out


def test_values_of_few_epochs_are_never_the_best(made, tmp_path):
    search.main(made("plain", "--trainings", "2", "--epochs", "12"))
    record = json.loads((tmp_path / "out" / "search.json").read_text())["seeds"][0]
    assert [trial["epochs"] for trial in record["trials"]] == [3, 3]
    assert record["best"] is None


def test_epochs_of_the_full_training_are_full(made, tmp_path):
    search.main(made("plain {epochs}", "--trainings", "1", "--epochs", "3"))
    assert trials_of(tmp_path)[0]["epochs"] == 0


@POSIX
def test_trainings_that_go_wrong_are_marked_and_the_search_goes_on(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("parzc.commands._search_loop.FAILURES", 99)
    search.main(made("odd", "--trainings", "32", "--jobs", "4", "--time-limit", "2"))
    trials = trials_of(tmp_path)
    assert len({trial["arch"] for trial in trials}) == 32
    for trial in trials:
        width = int(trial["arch"].split(",")[0].removeprefix("width="))
        if width in REASONS:
            assert (trial["state"], trial["value"]) == ("failed", None)
            assert trial["reason"].startswith(REASONS[width])
        else:
            assert (trial["state"], trial["value"]) == ("complete", expected(trial["arch"]))
    assert all(2 <= trial["seconds"] < 30 for trial in trials if "width=3" in trial["arch"])
    output = capsys.readouterr().out
    assert output.count("failed because it ended with exit status 1: the loss is nan") == 4


def test_three_failures_in_a_row_end_it_with_one_sentence(made, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        search.main(made("fail", "--trainings", "9"))
    assert exit_.value.code == 2
    output = capsys.readouterr()
    assert output.err.startswith(
        "error: 3 trainings in a row failed, the last one, trial 2, because it ended with exit"
    )
    assert (
        "ValueError: no images; correct the training, and give the same command again with a larger --trainings"
        in output.err
    )
    assert output.err.count("\n") == 1
    assert [trial["state"] for trial in trials_of(tmp_path)] == ["failed"] * 3
    # Once the training is corrected, the same search goes on; what failed has been counted.
    (tmp_path / "train.py").write_text(TRAIN.replace('mode == "fail"', "False"))
    search.main(made("fail", "--trainings", "5"))
    assert [trial["state"] for trial in trials_of(tmp_path)] == ["failed"] * 3 + ["complete"] * 2


@POSIX
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow("SIGTERM raises what SIGINT does, and ends a search alike")),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow("searches are killed in tests/search/test_kills.py")),
    ],
)
def test_an_interrupted_search_goes_on_with_the_same_trials(made, tmp_path, how):
    process = start(made("slow0.5", "--trainings", "4"))
    wait_for(lambda: len(log_of(tmp_path)) == 3)
    process.send_signal(how)
    output = process.communicate(timeout=60)[0]
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "the same command goes on from here" in output
        assert [trial["state"] for trial in trials_of(tmp_path)] == ["complete", "complete", "running"]
    search.main(made("slow0.5", "--trainings", "4"))
    interrupted, log = trials_of(tmp_path), log_of(tmp_path)
    assert [trial["state"] for trial in interrupted] == ["complete"] * 4
    # The one in flight was trained again, in its folder, and no other.
    assert log == [f"{t['arch']} {t['number']:04d}" for t in (*interrupted[:3], *interrupted[2:])]
    search.main([*made("slow0", "--trainings", "4")[:-3], str(tmp_path / "whole" / "out"), "--trainings", "4"])
    whole = trials_of(tmp_path / "whole")
    assert [(t["number"], t["arch"], t["value"]) for t in whole] == [
        (t["number"], t["arch"], t["value"]) for t in interrupted
    ]


@pytest.mark.slow("two commands start, and train eight networks")
@POSIX
def test_two_workers_share_a_search(made, tmp_path):
    arguments = made("slow0.3", "--trainings", "8", "--jobs", "2")
    workers = [start(arguments), start(arguments)]
    outputs = [worker.communicate(timeout=180)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    trials = trials_of(tmp_path)
    assert [trial["state"] for trial in trials] == ["complete"] * 8
    assert sorted(log_of(tmp_path)) == sorted(f"{trial['arch']} {trial['number']:04d}" for trial in trials)
