"""The extraction command in this process, on architectures that take a few hundredths of a second each."""

import numpy as np
import pytest

from parzc.commands._proxies import proxies_of
from parzc.commands.features import main
from parzc.datasets import get_space, list_spaces
from parzc.errors import InputError
from parzc.features import ExtractionConfig, FeatureStore, build_store, list_proxies
from parzc.features.extraction.chunks import Extraction

SPACE = get_space("nb201")
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
DIRECT = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
TWIN = "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
POOL = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|"


@pytest.fixture
def archs(tmp_path):
    """A file of three functions in four notations."""
    path = tmp_path / "archs.txt"
    path.write_text(f"{DEAD}\n{DIRECT}\n\n{TWIN}\n{POOL}\n")
    return path


def run(*arguments):
    main(["nb201", *map(str, arguments), "--workers", "1", "--batch", "2"])


def test_a_file_of_archs_is_extracted(archs, tmp_path, capsys):
    run(tmp_path / "store", "--archs", archs)
    assert capsys.readouterr().out.splitlines() == [
        f"3 different functions in {tmp_path / 'store'}",
        f"python -m parzc.features archs {tmp_path / 'store'} lists them, one architecture of each function",
    ]
    store = FeatureStore.open(tmp_path / "store")
    assert set(store.archs) == {DEAD, DIRECT, POOL}
    names = proxies_of(["default", "paper"])
    config = ExtractionConfig("nb201", batch=2, proxies=names)
    reference = build_store(tmp_path / "reference", config, [DEAD, DIRECT, POOL], 1)
    assert store.manifest == reference.manifest
    got, expected = store.read(), reference.read()
    assert tuple(got.scores) == names
    for name in got.scores:
        np.testing.assert_array_equal(got.scores[name], expected.scores[name])
    for name in got.statistics:
        np.testing.assert_array_equal(got.statistics[name], expected.statistics[name])


def test_every_option_reaches_the_configuration(archs, tmp_path):
    chosen = ["--task", "cifar100", "--batches", 3, "--seed", 3, "--proxies", "snip", "params"]
    run(tmp_path / "store", "--archs", archs, *chosen)
    config = ExtractionConfig("nb201", "cifar100", 2, "gaussian", 3, ("snip", "params"), 3)
    store = FeatureStore.open(tmp_path / "store")
    assert store.manifest["config"] == config.manifest()
    assert (config.manifest()["batch"], config.manifest()["batches"]) == (2, 3)
    assert list(store.read().scores) == ["params", "snip"]
    assert store.read([DIRECT]).scores["params"].tolist() == [SPACE.cost(DIRECT, "cifar100").params]


def test_images_may_be_given(archs, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8), np.array([1, 2])
    np.savez(tmp_path / "images.npz", x_train=images, y_train=labels)
    run(tmp_path / "store", "--archs", archs, "--data", tmp_path / "images.npz", "--proxies", "l2_norm")
    assert FeatureStore.open(tmp_path / "store").manifest["config"]["data"].startswith("sha256:")


def test_archs_are_drawn_with_the_seed(tmp_path, capsys):
    run(tmp_path / "store", "--sample", 2, "--seed", 4, "--proxies", "l2_norm")
    assert capsys.readouterr().out.startswith("2 different functions in ")
    expected = {SPACE.canonical(arch) for arch in SPACE.sample(2, 4)}
    assert set(FeatureStore.open(tmp_path / "store").archs) == expected


def test_a_store_is_continued(archs, tmp_path, capsys):
    (tmp_path / "one.txt").write_text(DIRECT)
    run(tmp_path / "store", "--archs", tmp_path / "one.txt")
    shards = set((tmp_path / "store").glob("shard-*"))
    run(tmp_path / "store", "--archs", archs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0::2] == [f"{n} different functions in {tmp_path / 'store'}" for n in (1, 3)]
    assert len(shards) == 1 and shards < set((tmp_path / "store").glob("shard-*"))


def refused(capsys, *arguments):
    """Run the command on bad input and return its one sentence."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") and "Traceback" not in error
    return error.splitlines()[-1].removeprefix("error: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "mnist"], "nb201 has no task 'mnist'; choose one of cifar10, cifar100, imagenet16"),
        (["--batch", 0], "--batch 0 is no number of inputs; give at least 1"),
        (["--batch", -3], "--batch -3 is no number of inputs; give at least 1"),
        (["--batches", 0], "--batches 0 is no number of inputs; give at least 1"),
        (["--seed", -1], "--seed -1 is no seed; give a whole number from 0 to 9223372036854775807"),
        (["--seed", 2**63], "--seed 9223372036854775808 is no seed; "),
        (["--for", "best"], "there is no preset 'best'; choose one of default, paper"),
        (["--for", "paper,"], "there is no preset ''; choose one of default, paper"),
        (["--proxies", "guess"], "there is no proxy 'guess'; choose from "),
        (["--data", "none.npz"], "cannot read images from none.npz: "),
    ],
)
def test_bad_input_ends_with_one_sentence(capsys, archs, tmp_path, arguments, sentence):
    error = refused(capsys, "nb201", tmp_path / "store", "--archs", archs, "--workers", 1, *arguments)
    assert error.startswith(sentence)
    assert not list((tmp_path / "store").glob("shard-*"))


@pytest.mark.parametrize("n", [0, -1, 15_626])
def test_a_sample_that_cannot_be_drawn_is_refused(capsys, tmp_path, n):
    sentence = f"cannot draw {n} architectures from nb201: it holds 15625; ask for 1 to 15625"
    assert refused(capsys, "nb201", tmp_path / "store", "--sample", n) == sentence


def test_an_unknown_space_is_refused(capsys, tmp_path):
    error = refused(capsys, "nb999", tmp_path / "store")
    known = ", ".join(list_spaces())
    assert error == f"there is no search space 'nb999'; choose one of {known}, or give path/to/file.py:Name"


def test_the_bad_line_is_named(capsys, archs, tmp_path):
    archs.write_text(f"{DIRECT}\n\nresnet\n")
    error = refused(capsys, "nb201", tmp_path / "store", "--archs", archs)
    assert error.startswith(f"{archs}, line 3: 'resnet' is not an nb201 arch; ")


def test_a_store_of_another_configuration_is_refused(capsys, archs, tmp_path):
    run(tmp_path / "store", "--archs", archs, "--proxies", "params")
    error = refused(capsys, "nb201", tmp_path / "store", "--archs", archs, "--batch", 4, "--proxies", "params")
    assert error == (
        f"{tmp_path / 'store'} holds features of another configuration: batch is 2 there and 4 here; use another folder"
    )


def test_a_file_instead_of_a_folder_is_refused(capsys, archs):
    error = refused(capsys, "nb201", archs, "--archs", archs, "--proxies", "params")
    assert error.startswith(f"{archs}: ")


def test_archs_and_sample_exclude_each_other(capsys, archs, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["nb201", str(tmp_path / "store"), "--archs", str(archs), "--sample", "2"])
    assert caught.value.code == 2
    assert "argument --sample: not allowed with argument --archs" in capsys.readouterr().err


def test_debug_shows_the_error(tmp_path):
    with pytest.raises(InputError, match="there is no search space 'nb999'"):
        main(["nb999", str(tmp_path), "--debug"])


def test_what_failed_is_said_and_ends_with_status_1(archs, tmp_path, capsys, monkeypatch):
    def extract(self, space, arch):
        if arch == POOL:
            raise RuntimeError("too big")
        return original(self, space, arch)

    original = Extraction._extract
    monkeypatch.setattr(Extraction, "_extract", extract)
    with pytest.raises(SystemExit) as caught:
        run(tmp_path / "store", "--archs", archs, "--proxies", "params")
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"2 different functions in {tmp_path / 'store'}\n")
    assert printed.err.splitlines()[-1] == (
        f"1 failed, {POOL} with RuntimeError: too big; see python -m parzc.features status {tmp_path / 'store'}"
    )
    assert "seconds for one arch:" in printed.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "slurm"], "there is no engine 'slurm'; choose one of local, ray"),
        (["--address", "here:1"], "the engine 'local' has no address; leave --address out, or take --engine ray"),
        (["--workers", "0"], "--workers 0 is no number of processes; give at least 1"),
        (["--workers", "-1"], "--workers -1 is no number of processes; give at least 1"),
    ],
)
def test_an_engine_that_makes_no_sense_is_refused(capsys, archs, tmp_path, arguments, sentence):
    assert refused(capsys, "nb201", tmp_path / "store", "--archs", archs, *arguments) == sentence
    assert not (tmp_path / "store").exists()


def test_a_space_too_large_to_list_is_drawn_from_on_inputs_of_another_size(tmp_path):
    chosen = ["--sample", "2", "--seed", "4", "--proxies", "params", "flops", "--workers", "1", "--batch", "2"]
    main(["nb101", str(tmp_path / "store"), "--task", "cifar10@8", *chosen])
    store, space = FeatureStore.open(tmp_path / "store"), get_space("nb101")
    assert store.manifest["config"]["task"] == "cifar10@8"
    scores = store.read(space.sample(2, 4)).scores
    costs = [space.cost(arch, "cifar10@8") for arch in space.sample(2, 4)]
    assert scores["params"].tolist() == [cost.params for cost in costs]
    assert scores["flops"].tolist() == [cost.macs for cost in costs]


def test_the_first_task_of_the_space_is_meant_where_none_is_named(tmp_path):
    arch = tmp_path / "arch.txt"
    arch.write_text("8:8:8:8:8")
    main(["nats-sss", str(tmp_path / "store"), "--archs", str(arch), "--proxies", "params", "--workers", "1"])
    assert FeatureStore.open(tmp_path / "store").manifest["config"]["task"] == "cifar10"


def test_a_space_that_is_too_large_to_list_is_drawn_from_or_read(tmp_path, capsys):
    """Its first task is meant where none is named; widths and depths of the file are kept."""
    space = get_space("darts")
    small = space.canonical(space.sample(1, 0)[0]).replace("width=32, depth=8", "width=2, depth=3")
    (tmp_path / "archs.txt").write_text(small + "\n")
    options = ["--workers", "1", "--batch", "1", "--proxies", "params", "n_layers"]
    for which, name in (("--archs", str(tmp_path / "archs.txt")), ("--sample", "1")):
        main(["darts", str(tmp_path / which), which, name, *options])
        store = FeatureStore.open(tmp_path / which)
        (arch,) = store.archs
        cost, scores = space.cost(arch), store.read().scores
        assert (scores["params"][0], scores["n_layers"][0]) == (cost.params, cost.n_layers)
        assert store.manifest["config"]["task"] == "cifar10"
    assert FeatureStore.open(tmp_path / "--archs").archs == (small,)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["darts", str(tmp_path / "all")])
    assert "too many to list; draw or name some of them" in capsys.readouterr().err


def test_a_negative_seed_of_a_drawing_is_refused(capsys, tmp_path):
    error = refused(capsys, "nb201", tmp_path / "store", "--sample", 2, "--seed", -1)
    assert error == "--seed -1 is no seed; give a whole number from 0 to 9223372036854775807"


def test_presets_name_the_proxies_that_they_read():
    paper = proxies_of(["paper"])
    assert set(paper) == {"grad_norm", "snip", "synflow"}
    default = proxies_of(["default"])
    assert "grasp" not in default and {"nwot", "params", "expressivity", "synflow_bn"} <= set(default)
    assert list(default) == [name for name in list_proxies() if name in default]
    assert set(proxies_of(["default", "paper"])) == {*paper, *proxies_of(["default"])}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--for", "paper"], ["grad_norm", "snip", "synflow"]),
        (["--for", "paper, paper"], ["grad_norm", "snip", "synflow"]),
        (["--proxies", "all"], None),
    ],
)
def test_the_proxies_of_a_preset_or_all_are_measured(tmp_path, options, expected):
    (tmp_path / "one.txt").write_text(DIRECT)
    run(tmp_path / "store", "--archs", tmp_path / "one.txt", *options)
    names = FeatureStore.open(tmp_path / "store").manifest["config"]["proxies"]
    assert sorted(names) == sorted(expected or list_proxies())


def test_a_store_keeps_its_proxies(archs, capsys, tmp_path):
    (tmp_path / "one.txt").write_text(DIRECT)
    store = tmp_path / "store"
    run(store, "--archs", tmp_path / "one.txt", "--proxies", "params", "snip")
    run(store, "--archs", archs)
    assert list(FeatureStore.open(store).read().scores) == ["params", "snip"]
    end = "a store keeps the proxies that it began with; leave --proxies and --for away to add architectures to it"
    for options, difference in (
        (["--proxies", "params", "flops"], "lacks flops"),
        (["--proxies", "params"], "holds snip, too"),
        (["--for", "paper"], "lacks grad_norm, synflow"),
    ):
        error = refused(capsys, "nb201", store, "--archs", archs, "--batch", 2, *options)
        assert error == f"{store} {difference}, and {end}, or use another folder"


def test_proxies_and_presets_exclude_each_other(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["nb201", str(tmp_path / "store"), "--for", "paper", "--proxies", "snip"])
    assert caught.value.code == 2
    assert "not allowed with argument --for" in capsys.readouterr().err


def test_the_last_lines_say_how_to_go_on(capsys, tmp_path):
    store = tmp_path / "a store"
    run(store, "--sample", 26, "--proxies", "params", "--workers", 1)
    lines = capsys.readouterr().out.splitlines()
    count = len(FeatureStore.open(store))
    assert lines[0] == f"{count} different functions in {store}" and 20 < count <= 26
    assert lines[-2] == f"python -m parzc.features archs '{store}' lists them, one architecture of each function"
    assert lines[-1] == (
        f"next: train some, such as those that python -m parzc.features archs '{store}' --sample {count} draws, write "
        "a table with the columns arch and accuracy, and give it to python train.py --space nb201 "
        f"--features '{store}' --table TABLE.csv --samples {int(0.78 * count)}"
    )


def test_a_proxy_without_values_is_said_with_the_reason(archs, capsys, tmp_path):
    run(tmp_path / "store", "--archs", archs, "--proxies", "params", "dss")
    why = "the network has no attention, whose weights this indicator is about"
    line = f"no value for 3 of 3 architectures ({why}): dss"
    assert capsys.readouterr().out.splitlines()[1] == line
    main(["status", str(tmp_path / "store")])
    assert capsys.readouterr().out.splitlines()[-1] == line
