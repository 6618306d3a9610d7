"""A `run.json` of a stranger, given to the command itself: it starts a run, or ends with one sentence and status 2."""

import json
from dataclasses import asdict

import pytest
from damage import damaged, fuzz, tampered
from hypothesis import given

from parzc.commands import train

RECORD = {"config": asdict(train.TrainConfig()), "parzc": "0.1.0"}


def check(path, capsys, monkeypatch):
    runs = []
    monkeypatch.setattr(train, "run", lambda config, workers: runs.append((config, workers)))
    try:
        train.main(["--config", str(path), "--workers", "1"])
        assert isinstance(runs[0][0], train.TrainConfig)
    except SystemExit as end:
        assert end.code == 2 and not runs
        (sentence,) = capsys.readouterr().err.strip().split("\n")
        assert sentence.startswith("error: ")


@fuzz
@given(tampered(RECORD) | damaged(json.dumps(RECORD, indent=1).encode()))
def test_run_json(tmp_path, capsys, monkeypatch, content):
    (tmp_path / "run.json").write_bytes(content)
    check(tmp_path / "run.json", capsys, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [b"\x80\x04.", b"[" * 100_000, b'{"config": {"space": "\\ud800"}}', b"1e999"])
def test_run_json_of_another_kind(tmp_path, capsys, monkeypatch, content):
    (tmp_path / "run.json").write_bytes(content)
    check(tmp_path / "run.json", capsys, monkeypatch)
