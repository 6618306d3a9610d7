"""Journals and databases: what is refused, what is mended."""

import os
import re
import time

import optuna
import pytest
from studies import open_journal

from parzc.errors import InputError
from parzc.tuning.storage import _Lock, check_identity, load_study, open_storage, open_study


@pytest.fixture
def journal(tmp_path):
    """A journal with a study of two trials."""
    path = tmp_path / "tuning.journal"
    study = optuna.create_study(storage=open_journal(path), study_name="parzc", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return path


def trials(path):
    return [(trial.number, trial.value) for trial in load_study(path, "parzc").trials]


def test_a_journal_that_is_whole_is_left_as_it_is(journal):
    before = journal.read_bytes()
    open_storage(journal)
    assert journal.read_bytes() == before and len(trials(journal)) == 2


def test_a_line_that_a_crash_cut_is_dropped(journal):
    before, known = journal.read_bytes(), trials(journal)
    with journal.open("ab") as stream:
        stream.write(b'{"op_code":4,"worker_id":"a","study')
    storage = open_storage(journal)
    assert journal.read_bytes() == before and trials(journal) == known
    optuna.load_study(storage=storage, study_name="parzc").ask()
    assert len(trials(journal)) == 3


@pytest.mark.parametrize("line", [b"not json", b"[]", b'{"op_code":4}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_line_is_named(journal, line):
    lines = journal.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:3], line + b"\n", *lines[3:]])
    journal.write_bytes(content)
    sentence = f"{journal} is not a journal of Optuna, or damaged (line 4 is no record); delete it, or name another"
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        open_storage(journal)
    assert journal.read_bytes() == content and not os.path.lexists(f"{journal}.lock")


@pytest.mark.parametrize(
    "change", [(b'"op_code":0', b'"op_code":99'), (b'"study_name"', b'"name"'), (b'"state":1', b'"state":"done"')]
)
def test_records_that_make_no_sense_are_named(journal, change):
    content = journal.read_bytes()
    assert change[0] in content
    journal.write_bytes(content.replace(*change))
    with pytest.raises(InputError, match=re.escape(f"{journal} is not a journal of Optuna, or damaged (")):
        open_storage(journal)


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("a line without its end")
    with pytest.raises(InputError, match="is not a journal of Optuna, or damaged"):
        open_storage(path)
    assert path.read_text() == "a line without its end"


def test_the_lock_of_a_relative_path_leads_to_the_journal(tmp_path, monkeypatch):
    """Where it leads nowhere, Optuna never gives it up after its owner has died."""
    links, link = [], os.symlink
    monkeypatch.setattr(os, "symlink", lambda *arguments: [links.append(arguments), link(*arguments)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    optuna.create_study(storage=open_storage("folder/journal"))
    assert set(links) == {(f"{tmp_path}/folder/journal", f"{tmp_path}/folder/journal.lock")}
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"journal", ".journal.lock"}


def test_a_journal_needs_no_links_on_windows(journal, monkeypatch):
    def symlink(*_):
        raise OSError(22, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", symlink)
    with pytest.raises(OSError, match="A required privilege"):
        open_storage(journal)
    monkeypatch.setattr("parzc.tuning.storage.WINDOWS", True)
    optuna.load_study(storage=open_storage(journal), study_name="parzc").ask()
    assert len(trials(journal)) == 3 and not os.path.lexists(f"{journal}.lock")


def test_an_empty_file_is_a_new_journal(tmp_path):
    (tmp_path / "journal").touch()
    assert open_storage(tmp_path / "journal").get_all_studies() == []


def test_a_place_that_takes_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path / 'none'} is not a folder; create it, or keep the journal else"):
        open_storage(tmp_path / "none" / "journal")
    with pytest.raises(InputError, match=f"{tmp_path} is a folder; name a file for the journal"):
        open_storage(tmp_path)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nosql://me:secret@host/base", "the storage nosql://me:***@host/base cannot be used ("),
        ("sqlite:////nowhere/to/be/found.db", "the storage sqlite:////nowhere/to/be/found.db cannot be used ("),
        ("://", "the storage ://… cannot be used ("),
        ("redis://host", "the storage redis://host cannot be used ("),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url, sentence):
    with pytest.raises(InputError) as caught:
        open_storage(url)
    assert str(caught.value).startswith(sentence) and "secret" not in str(caught.value)
    assert str(caught.value).endswith("; give a journal file or a database URL")


def test_a_study_is_of_what_it_was_first_made_with(tmp_path):
    storage = open_storage(tmp_path / "journal")
    identity = {"seed": 0, "search": {"a": "1 to 2"}}
    study = open_study(storage, "mine", "here", identity)
    assert study.user_attrs["identity"] == identity and study.direction.name == "MAXIMIZE"
    again = open_study(open_storage(tmp_path / "journal"), "mine", "here", dict(identity))
    assert len(again.trials) == 0
    for other, difference in (
        ({"seed": 1, "search": {"a": "1 to 3"}}, "seed is 0 there and 1 here"),
        ({"seed": 0, "search": {"a": "1 to 3"}}, "search a is 1 to 2 there and 1 to 3 here"),
        ({"seed": 0, "search": {"a": "1 to 2", "b": "3 to 4"}}, "search b is absent there and 3 to 4 here"),
        ({"seed": 0, "search": {}}, "search a is 1 to 2 there and absent here"),
    ):
        sentence = f"here holds a study 'mine' of other trials: {difference}; repeat what it was made with, or name "
        with pytest.raises(InputError, match=f"^{sentence}another study or storage$"):
            check_identity(study, "here", other)


def test_a_study_to_look_at_has_to_be_there(journal, tmp_path):
    assert len(load_study(journal, "parzc").trials) == 2
    with pytest.raises(InputError, match=f"{journal} holds no study 'other'; it holds: parzc$"):
        load_study(journal, "other")
    with pytest.raises(InputError, match=r"there is no journal .*none; correct the path"):
        load_study(tmp_path / "none", "parzc")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("held", [True, False])
def test_nobody_waits_for_a_process_that_died_with_the_lock(journal, held):
    lock = _Lock(str(journal))
    lock.acquire()
    assert (journal.with_name(".tuning.journal.lock").read_bytes() == b"1") and os.path.lexists(f"{journal}.lock")
    # As the system leaves it when the process is gone.
    if not held:
        os.ftruncate(lock._stream, 0)
        os.unlink(f"{journal}.lock")
    os.close(lock._stream)
    start = time.monotonic()
    optuna.load_study(storage=open_storage(journal), study_name="parzc").ask()
    assert len(trials(journal)) == 3 and time.monotonic() - start < 5
    assert not os.path.lexists(f"{journal}.lock") and journal.with_name(".tuning.journal.lock").read_bytes() == b""
