"""Ranker folders: what is written, read back, refused, and never executed."""

import hashlib
import json
import math
import pickle
import platform
import resource
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from helpers import SMALL, STATISTICS, TEST, TRAIN
from safetensors.torch import load_file, save

import parzc
from parzc.errors import InputError
from parzc.features import FeatureTable
from parzc.ranker import Ranker


def test_what_was_saved_comes_back_to_the_last_bit(either, tmp_path):
    either.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker")
    assert type(loaded) is Ranker and loaded.get_params() == either.get_params()
    assert loaded.preset_ == either.preset_
    np.testing.assert_array_equal(loaded.predict(TEST), either.predict(TEST))
    for got, expected in zip(loaded.predict_dist(TEST), either.predict_dist(TEST), strict=True):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(InputError, match="the ranker was trained on"):
        definitions = {name: {**d, "definition": 99} for name, d in TEST.definitions.items()}
        loaded.predict(FeatureTable(**{**TEST.__dict__, "definitions": definitions}))


def test_saving_twice_replaces_the_first(ranker, paper, tmp_path):
    ranker.save(tmp_path)
    paper.save(str(tmp_path))
    np.testing.assert_array_equal(Ranker.load(str(tmp_path)).predict(TEST), paper.predict(TEST))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.md", "config.json", "model.safetensors"]


def test_the_folder_says_what_the_ranker_is(ranker, tmp_path):
    ranker.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["schema"], config["space"], config["preset"], config["seed"]) == (6, "nb201", "default", 0)
    assert config["settings"] == SMALL
    assert set(config["resolved"]["statistics"]) <= set(STATISTICS)
    assert (
        config["resolved"]["encoder"] == "tokens"
        and config["resolved"]["training"]["epochs"] == SMALL["training.epochs"]
    )
    assert set(config["definitions"]) == {
        name for kind in ("statistics", "scores", "blocks") for name in config["resolved"][kind]
    }
    assert config["labelled"] == 50 and config["shapes"] == {"tokens": [11, 19], "scores": [40], "blocks": [6]}
    assert config["definitions"]["snip"] == dict(TRAIN.definitions["snip"])
    assert config["software"] == {
        "python": platform.python_version(),
        "parzc": parzc.__version__,
        "torch": version("torch"),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
    content = (tmp_path / "model.safetensors").read_bytes()
    assert config["sha256"] == hashlib.sha256(content).hexdigest()
    tensors = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(tensors["encoder.scores"].numpy(), ranker.encoder_.arrays["scores"])
    assert sum(name.startswith("members.1.") for name in tensors) == len(ranker.ensemble_.members_[1].state_dict())
    card = (tmp_path / "card.md").read_text()
    assert "Ranks architectures of: nb201. Preset `default`, seed 0, fitted on 50\nlabelled ones." in card
    assert "weights: 2 mixers 0.33, gaussian_process 0.33, boosted_trees 0.33\n" in card
    assert ", ".join(config["resolved"]["statistics"]) in card


@pytest.fixture
def folder(ranker, tmp_path):
    ranker.save(tmp_path / "ranker")
    return tmp_path / "ranker"


def test_a_folder_of_an_earlier_version_is_refused(ranker, tmp_path):
    """As the version before wrote it: no settings of members, positional shapes, other names of tensors."""
    ranker.save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    resolved = config["resolved"]
    for name in ("encoding", "member_configs", "stacking", "transform", "draws", "acquisition"):
        del resolved[name]
    old = {"mixers": "members", "others": "beside", "mixer_weight": "share", "arch_encoding": "described"}
    config["resolved"] = {old.get(name, name): value for name, value in resolved.items()}
    config |= {"schema": 5, "shapes": list(config["shapes"].values())}
    path.write_text(json.dumps(config))
    assert refusal(tmp_path).endswith("another version of parzc wrote it; fit the ranker again and save it")


def refusal(folder):
    """The one sentence with which a folder is refused; it names the folder."""
    with pytest.raises(InputError) as caught:
        Ranker.load(folder)
    sentence = str(caught.value)
    assert str(folder) in sentence and "\n" not in sentence
    return sentence


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none"
    assert refusal(path) == f"{path}/config.json is missing: {path} is not a whole ranker folder as train.py writes"


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be read" in refusal(tmp_path / "file")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refusal(folder).startswith(f"{folder / name} is missing: ")


def test_the_card_is_for_people_only(folder, ranker):
    (folder / "card.md").unlink()
    np.testing.assert_array_equal(Ranker.load(folder).predict(TEST), ranker.predict(TEST))


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:4],
        lambda _: b"",
        lambda content: flip(content, 3),
        lambda content: flip(content, 60),
        lambda content: flip(content, len(content) // 2),
        lambda content: flip(content, len(content) - 1),
        lambda content: content + b"\0",
    ],
)
def test_damaged_tensors_are_refused(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(folder).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1'])
def test_a_config_that_is_no_json_is_refused(folder, content):
    (folder / "config.json").write_bytes(content)
    assert "cannot be read" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "null", '"text"', "{}", '{"schema": 5}', '{"schema": "6"}'])
def test_another_schema_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    sentence = "is not of schema 6, which this version reads: another version of parzc wrote it; "
    sentence += "fit the ranker again and save it"
    assert refusal(folder) == f"{folder / 'config.json'} {sentence}"


def tamper(folder, **changes):
    """Change entries of config.json; a name with a double underscore reaches into a part."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, value in changes.items():
        *parts, last = name.split("__")
        target = config
        for part in parts:
            target = target[part]
        if value is DELETE:
            del target[last]
        else:
            target[last] = value
    path.write_text(json.dumps(config))


DELETE = object()


@pytest.mark.parametrize(
    "changes",
    [
        {"space_reference": 5},
        {"space": ["nb201"]},
        {"space": DELETE},
        {"definitions": DELETE},
        {"settings": DELETE},
        {"resolved": DELETE},
        {"resolved": 5},
        {"resolved__statistics": None},
        {"resolved__training": {"momentum": 0.9}},
        {"resolved__training__loss": "hinge"},
        {"resolved__model": "mabn"},
        {"resolved__model_args": {"hidden": 3}},
        {"resolved__model_args": {"dim": 17}},
        {"resolved__model_args": {"dim": -1}},
        {"resolved__model_args": {"dim": "16"}},
        {"resolved__model_args": {"dim": 16, "segment_expansion": math.inf}},
        {"resolved__surprise": 1},
        {"shapes": []},
        {"shapes": {}},
        {"shapes": {"nodes": [3]}},
        {"shapes": {"tokens": [11, 22], "scores": ["10"], "blocks": [6]}},
        {"shapes": {"tokens": [11, 10**12], "scores": [40], "blocks": [6]}},
        {"shapes": 7},
    ],
)
def test_a_tampered_config_is_refused(folder, changes):
    tamper(folder, **changes)
    assert refusal(folder).startswith(f"the ranker in {folder} is damaged (")


class Payload:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_nothing_in_a_hostile_folder_is_executed(folder, tmp_path):
    marker = tmp_path / "executed"
    content = pickle.dumps({"offset": Payload(marker)})
    pickle.loads(content)
    assert marker.exists()
    marker.unlink()
    (folder / "model.safetensors").write_bytes(content)
    tamper(folder, sha256=hashlib.sha256(content).hexdigest())
    assert "is damaged (SafetensorError" in refusal(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    "entry", ["space", "preset", "settings", "resolved__model", "resolved__encoder", "definitions"]
)
def test_code_in_the_config_is_text(folder, tmp_path, entry):
    marker = tmp_path / "executed"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    tamper(folder, **{entry: code, "resolved__training__loss": code})
    refusal(folder)
    tamper(
        folder, resolved__training__loss="mse", **{entry: {"py/object": "os.system", "__reduce__": code, code: code}}
    )
    try:
        Ranker.load(folder)
    except InputError as error:
        assert str(folder) in str(error)
    assert not marker.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"resolved__mixers": 10**9},
        {"resolved__mixers": 1},
        {"resolved__mixers": -2},
        {"resolved__mixers": "2"},
        {"resolved__others": []},
        {"resolved__others": ["gaussian_process"]},
        {"resolved__others": ["boosted_trees", "gaussian_process"]},
        {"resolved__others": ["gaussian_process", "gaussian_process"]},
        {"resolved__others": ["gaussian_process", "forest"]},
        {"resolved__others": ["gaussian_process", ["boosted_trees"]]},
        {"resolved__others": "gaussian_process"},
        {"resolved__others": None},
        {"resolved__others": 2},
        {"resolved__mixers": 1, "resolved__others": ["gaussian_process", "boosted_trees", "boosted_trees"]},
        {"resolved__pretraining": {"momentum": 0.9}},
        {"resolved__pretraining": None},
        {"resolved__blocks": []},
        {"resolved__scores": []},
        {"resolved__statistics": ["snip"]},
        {"labelled": 10**9},
        {"labelled": 10**30},
        {"labelled": 49},
        {"labelled": 0},
        {"labelled": -1},
        {"labelled": "50"},
        {"labelled": 50.5},
        {"labelled": None},
        {"labelled": DELETE},
        {"definitions": {}},
        {"definitions": []},
        {"definitions__snip": 3},
        {"shapes__blocks": [10**9]},
        {"shapes__blocks": DELETE},
        {"shapes__places": [1]},
        {"resolved__member_configs": {"forest": {}}},
        {"resolved__member_configs__boosted_trees": {"leaves": 3}},
        {"resolved__member_configs__boosted_trees__trees": 10**9},
        {"resolved__member_configs__boosted_trees__depth": 10**9},
        {"resolved__member_configs__boosted_trees__depth": 30},
        {"resolved__member_configs__boosted_trees__depth": "3"},
        {"resolved__member_configs__gaussian_process__length": None},
        {"resolved__member_configs__gaussian_process__noise": [1.0, 2.0, 3.0]},
        {"resolved__member_configs__gaussian_process__noise": [1.0, 0.0]},
        {"resolved__member_configs__gaussian_process__length": [math.nan, 1.0]},
        {"resolved__encoding__positions": 10**9},
        {"resolved__encoding": []},
        {"resolved__stacking": {"deviation": 0.1, "momentum": 0.9}},
    ],
)
def test_members_that_do_not_fit_are_refused_before_memory_is_taken(folder, changes):
    tamper(folder, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(folder).startswith(f"the ranker in {folder} is damaged (")
    # In units of 1 KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000


def set_to(value, place=0):
    def change(tensor):
        tensor.view(-1)[place] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("members.0.network.place", set_to(math.nan)),
        ("members.0.network.place", set_to(math.inf, 7)),
        ("members.1.network.head.weight_mu", lambda t: t[:, :-1]),
        ("members.1.network.head.weight_mu", lambda t: t.double()),
        ("members.1.network.head.weight_mu", lambda t: t.bfloat16()),
        ("members.2.points", lambda t: t[:49]),
        ("members.2.points", lambda t: t.float()),
        ("members.2.points", set_to(math.nan, 99)),
        ("members.2.factor", lambda t: t[0]),
        ("members.2.factor", set_to(-math.inf)),
        ("members.2.weights", lambda t: t[:, None]),
        ("members.2.log_noise", lambda t: t[None]),
        ("members.2.log_noise", set_to(math.nan)),
        ("members.2.log_length", lambda t: t.long()),
        ("members.2.direction", lambda _: None),
        ("members.3.child", set_to(15)),
        ("members.3.child", set_to(-1, 500)),
        ("members.3.child", lambda t: t.int()),
        ("members.3.child", lambda t: t.double()),
        ("members.3.child", lambda t: t[:-1]),
        ("members.3.column", set_to(11 * 19 + 40 + 6, 3)),
        ("members.3.column", set_to(-(2**62), 3)),
        ("members.3.threshold", set_to(math.nan)),
        ("members.3.value", lambda t: t[:, :-1]),
        ("members.3.start", lambda _: None),
        ("members.3.surprise", lambda _: torch.zeros(1)),
        ("members.4.place", lambda _: torch.zeros(1)),
        ("members.-1.place", lambda _: torch.zeros(1)),
        ("members.x", lambda _: torch.zeros(1)),
        ("offset", set_to(math.nan)),
        ("offset", lambda t: t[:-1]),
        ("offset", lambda t: t.float()),
        ("offset", lambda _: None),
        ("scale", set_to(0.0)),
        ("scale", set_to(-1.0, 4)),
        ("scale", set_to(math.inf, 2)),
        ("scale", lambda t: t[:, None]),
        ("weights", set_to(-0.5)),
        ("weights", set_to(0.9)),
        ("weights", set_to(math.nan)),
        ("weights", lambda t: t[:-1]),
        ("weights", lambda t: t.float()),
        ("weights", lambda _: None),
        ("encoder.scores", set_to(math.nan, 5)),
        ("encoder.scores", lambda t: t[1:]),
        ("encoder.scores", lambda t: t.float()),
        ("encoder.scores", lambda t: t[..., None]),
        ("encoder.blocks", lambda t: t[1:]),
        ("encoder.blocks", lambda _: None),
        ("encoder.cells", lambda t: t.bfloat16()),
        ("encoder.cells", lambda t: t[:-3]),
    ],
)
def test_tampered_tensors_are_refused(folder, name, change):
    tensors = load_file(folder / "model.safetensors")
    value = change(tensors.pop(name, None))
    content = save(tensors if value is None else tensors | {name: value.contiguous()})
    (folder / "model.safetensors").write_bytes(content)
    tamper(folder, sha256=hashlib.sha256(content).hexdigest())
    assert refusal(folder).startswith(f"the ranker in {folder} is damaged (")


@pytest.mark.parametrize("width", [math.nan, 97.0, 97.5, 1e12, -98.0])
def test_a_tampered_width_is_refused(paper, tmp_path, width):
    paper.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["encoder.width"].item() == 98
    tensors["encoder.width"].fill_(width)
    content = save(tensors)
    (tmp_path / "model.safetensors").write_bytes(content)
    tamper(tmp_path, sha256=hashlib.sha256(content).hexdigest())
    assert refusal(tmp_path).startswith(f"the ranker in {tmp_path} is damaged (")
