"""Proxies from files, modules and installed packages outside the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from parzc.errors import InputError
from parzc.features import ExtractionConfig, extract, list_proxies, proxy_info, score
from parzc.features.proxies import ProxyInfo, _registry, load_proxies, register
from parzc.features.proxies._references import load_module
from parzc.features.proxies._registry import known_info, record, reference, resolve

CODE = """
import numpy as np

from parzc.features.proxies import Family, Undefined

counts = Family(passes=("forward",))


@counts.statistic("wide", "output channels of each node, squared", "this test", elements="channels")
def squares(passes):
    return np.array([float(node.channels**2) for node in passes.forward])


@counts.proxy("narrow", "fewest output channels of a node", "this test", bigger_is_better=False)
def narrow(passes):
    return float(min(node.channels for node in passes.forward))
"""
NETWORK = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 5))
INPUTS = torch.eye(4)


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch):
    list_proxies()
    monkeypatch.setattr(_registry, "_PROXIES", dict(_registry._PROXIES))
    monkeypatch.setattr(_registry, "_LOADED", dict(_registry._LOADED))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_proxy.py"
    path.write_text(CODE)
    return path


def test_a_file_stands_for_all_that_it_registers(file):
    before = list_proxies()
    features = extract(NETWORK, INPUTS, proxies=[str(file), "n_layers"])
    assert features.scores == {"n_layers": 2, "wide": 81 + 25, "narrow": 5}
    assert features.statistics["wide"].tolist() == [81, 25]
    assert list_proxies() == [*before, "wide", "narrow"]
    assert score(NETWORK, INPUTS, ["narrow"]) == {"narrow": 5}


@pytest.mark.parametrize("name", ["wide", "squares"])
def test_one_of_a_file_is_named_by_its_name_or_its_function(file, name, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert [info.name for info in resolve([f"my_proxy.py:{name}"])] == ["wide"]
    assert proxy_info(f"{file}:{name}") is proxy_info("wide")
    assert load_proxies(f"my_proxy.py:{name}") == ["wide"]


def test_a_file_is_imported_once_however_it_is_named(file, monkeypatch):
    file.write_text(CODE + f"\nwith open({str(file.with_suffix('.log'))!r}, 'a') as log:\n    log.write('imported ')\n")
    monkeypatch.chdir(file.parent)
    assert load_proxies("my_proxy.py") == load_proxies(file) == ["wide", "narrow"]
    _ = proxy_info("../" + file.parent.name + "/my_proxy.py:narrow")
    assert file.with_suffix(".log").read_text() == "imported "


def test_a_module_is_named_without_its_path(tmp_path, monkeypatch):
    (tmp_path / "module_of_proxies.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    assert proxy_info("module_of_proxies:narrow").bigger_is_better is False
    assert reference(proxy_info("narrow")) == "module_of_proxies:narrow"
    with pytest.raises(InputError, match=r"^module_of_proxies registers no proxy 'flat', only wide, narrow; correct"):
        proxy_info("module_of_proxies:flat")


def test_a_module_that_was_imported_before_is_found_too(tmp_path, monkeypatch):
    (tmp_path / "module_imported_before.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("module_imported_before")
    assert [info.name for info in resolve(["module_imported_before:wide"])] == ["wide"]
    assert reference(proxy_info("wide")) == "module_imported_before:wide"


def test_a_file_that_something_else_has_imported_is_not_imported_again(file):
    """A file may hold a search space and a proxy; each is found by its own option."""
    module = load_module(str(file))
    assert load_proxies(file) == ["wide", "narrow"]
    assert reference(proxy_info("wide")) == f"{file}:wide"
    assert proxy_info("wide").node_values is module.squares


def test_a_file_may_import_others_of_its_folder(file):
    (file.parent / "helper_of_my_proxy.py").write_text("FIVE = 5.0\n")
    file.write_text(CODE + "\nfrom helper_of_my_proxy import FIVE\n")
    assert load_proxies(file) == ["wide", "narrow"]


def test_a_record_that_nobody_registered_is_found(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "from parzc.features.proxies import ProxyInfo\n\n"
        "mine = ProxyInfo('five', 'always the number five', 'this test', network_value=lambda passes: 5.0)\n"
    )
    assert score(NETWORK, INPUTS, [str(path)]) == {"five": 5}


def test_references_are_what_other_processes_need(file):
    load_proxies(file)
    assert reference(proxy_info("wide")) == f"{file}:wide"
    assert reference(proxy_info("snip")) == "snip"
    config = ExtractionConfig("nb201", proxies=("narrow", "snip", "params"))
    assert config.extraction().proxies == ("params", "snip", f"{file}:narrow")
    assert config.manifest()["proxies"] == ["params", "snip", "narrow"]


def test_a_proxy_of_an_interactive_session_is_not_found_by_others():
    function = eval("lambda passes: 1.0", {"__name__": "__main__"})
    register(ProxyInfo("typed", "always the number one", "this test", network_value=function))
    if not hasattr(sys.modules["__main__"], "__file__"):
        assert reference(proxy_info("typed")) == "__main__:typed"
    with pytest.raises(
        InputError, match=r"^proxy 'typed' was defined in an interactive session.*\(my_proxy.py:typed\)"
    ):
        del _registry._PROXIES["typed"]
        resolve(["__main__:typed"])


def test_what_a_store_keeps_of_it_is_enough_to_use_its_values(file):
    load_proxies(file)
    kept = {name: record(proxy_info(name)) for name in ("wide", "narrow", "ntk")}
    assert kept["ntk"] == proxy_info("ntk").define()
    assert kept["narrow"] == proxy_info("narrow").define() | {"bigger_is_better": False}
    for name, elements, bigger_is_better in (("wide", "channels", True), ("narrow", "weights", False)):
        del _registry._PROXIES[name]
        info = known_info(name, kept[name] | {"task": "cifar10"})
        assert (info.scale, info.elements, info.bigger_is_better) == ("linear", elements, bigger_is_better)
    assert known_info("ntk", {}) is proxy_info("ntk")
    for damaged in ({}, kept["wide"] | {"elements": "apples"}, kept["wide"] | {"bigger_is_better": "yes"}):
        with pytest.raises(InputError, match=r"^there is no proxy 'wide'; choose from .*, or name the file of one"):
            known_info("wide", damaged)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (None, "^there is no file {file} on this machine; correct the path"),
        ("x = 1", "^{file} registers no proxy; correct the name, or see docs/own_proxy.md$"),
        (
            "import no_such_module",
            "^{file} cannot be imported: ModuleNotFoundError: No module named 'no_such_module' at line 1; ",
        ),
        ("open('no such file')", "^{file} cannot be imported: FileNotFoundError: "),
        ("def f(:", "^{file} cannot be imported: SyntaxError: "),
        (
            CODE.replace('"narrow"', '"snip"'),
            "^{file} cannot be imported: InputError: a proxy called 'snip' is already registered; .* at line ",
        ),
        (
            CODE.replace('"narrow"', '"wide"'),
            "^{file} cannot be imported: InputError: a proxy called 'wide' is already registered; .* at line ",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_leaves_nothing_behind(tmp_path, code, sentence):
    file, before = tmp_path / "broken.py", list_proxies()
    if code is not None:
        file.write_text(code)
    for _ in range(2):
        with pytest.raises(InputError, match=sentence.format(file=file)):
            resolve([str(file)])
        assert list_proxies() == before


def test_two_files_may_not_give_one_name(file, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(CODE)
    load_proxies(file)
    with pytest.raises(InputError, match=f"^{other} cannot be imported: .*'wide' is already registered"):
        load_proxies(other)
    assert reference(proxy_info("wide")) == f"{file}:wide"


def test_a_file_of_several_is_not_one_proxy(file):
    with pytest.raises(InputError, match=rf"registers several proxies \(wide, narrow\); name one, as in {file}:wide$"):
        proxy_info(str(file))
    with pytest.raises(InputError, match=f"^{file} registers no proxy 'flat', only wide, narrow; "):
        proxy_info(f"{file}:flat")


def installed(folder: Path, name: str, code: str) -> None:
    """Lay out what pip installs of a package with an entry point."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[parzc.proxies]\n{name} = {name}\n")


def test_installed_packages_bring_proxies(tmp_path):
    installed(tmp_path, "package_of_proxies", CODE)
    installed(tmp_path, "broken_package", "raise OSError('no luck')")
    code = (
        "import warnings; warnings.simplefilter('always')\n"
        "import parzc; from parzc.features.proxies._registry import reference\n"
        "print(parzc.list_proxies()[-2:], reference(parzc.proxy_info('wide')))"
    )
    paths = [str(tmp_path), str(Path(__file__).resolve().parents[3])]
    program = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['wide', 'narrow'] package_of_proxies:wide\n"
    assert (
        "'broken_package' are left out: the module broken_package cannot be imported (OSError: no luck)" in done.stderr
    )
