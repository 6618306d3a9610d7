"""What a space gets from its base class, on a space of even numbers that is too large to list."""

from abc import abstractmethod
from types import MappingProxyType

import numpy as np
import pytest

from parzc import datasets
from parzc.datasets import Space, Task, get_space, load_table
from parzc.datasets.spaces import _registry
from parzc.errors import InputError


class Evens(Space):
    name = "evens"
    tasks = MappingProxyType({"small": Task("small", (1, 2, 2), 2), "large": Task("large", (1, 8, 8), 2)})
    columns = ("half", "sign")
    size = 10**30
    # Nothing here builds a network.
    network = graph = cost = mutate = None

    def canonical(self, arch):
        if int(arch) % 2:
            raise InputError(f"'{arch}' is not even")
        return arch

    def draw(self, generator):
        return str(2 * int(generator.integers(8)))

    def spell(self, row):
        if row["sign"] not in "+-":
            raise InputError(f"'{row['sign']}' is no sign")
        return str(2 * int(row["sign"] + row["half"]))


def test_a_space_that_is_too_large_is_not_listed_but_drawn_from():
    space = Evens()
    with pytest.raises(InputError, match=r"evens has 1,000,000,0.* architectures, too many to list"):
        space.archs()
    drawn = space.sample(8, seed=3)
    assert sorted(map(int, drawn)) == list(range(0, 16, 2))
    assert drawn == space.sample(8, seed=3) != space.sample(8, seed=4)


def test_the_first_task_is_meant_where_none_is_named():
    assert Evens().task().name == "small"
    assert Evens().task("large").input_shape == (1, 8, 8)
    with pytest.raises(InputError, match="evens has no task 'huge'; choose one of small, large"):
        Evens().task("huge")


def test_a_listed_space_draws_each_of_its_architectures():
    space = get_space("nb201")
    generator = np.random.default_rng(0)
    drawn = [space.draw(generator) for _ in range(200)]
    assert len(set(drawn)) > 190 and set(drawn) <= set(space.archs())


def test_a_table_may_spell_architectures_in_columns_of_its_own(tmp_path):
    path = tmp_path / "evens.csv"
    path.write_text("half,sign,accuracy\n4,+,.5\n3,-,.25\n")
    table = load_table(path, space=Evens())
    assert table.archs == ("8", "-6") and table.columns == ("accuracy",)
    assert table.labels.tolist() == [0.5, 0.25]


def test_what_a_table_spells_wrongly_is_named(tmp_path):
    path = tmp_path / "evens.csv"
    path.write_text("half,sign,accuracy\n4,+,.5\n3,x,.25\n")
    with pytest.raises(InputError, match=r"evens.csv, row 3: 'x' is no sign"):
        load_table(path, space=Evens())
    path.write_text("half,accuracy\n4,.5\n")
    with pytest.raises(InputError, match="has no column 'arch' or 'half', 'sign'; columns there: half, accuracy"):
        load_table(path, space=Evens())


def test_a_space_of_ones_own_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(_registry, "_SPACES", dict(_registry._SPACES))
    assert datasets.register_space(Evens) is Evens
    assert isinstance(get_space("evens"), Evens) and datasets.list_spaces()[-1] == "evens"
    assert (
        "| `evens` | 1,000,000,000,000,000,000,000,000,000,000 | `small`, `large` | none |" in datasets.spaces_table()
    )
    datasets.register_space(Evens)
    taken = type("Other", (Evens,), {"name": "nb201"})
    with pytest.raises(InputError, match="there is a search space 'nb201' already; choose another name"):
        datasets.register_space(taken)
    with pytest.raises(InputError, match="Unfinished lacks archs"):
        datasets.register_space(type("Unfinished", (Evens,), {"archs": abstractmethod(lambda _: [])}))


def test_inputs_of_another_size_where_a_task_takes_them():
    task = Task("digits", (1, 8, 8), 10, step=4)
    assert task.resized("12") == Task("digits@12", (1, 12, 12), 10, step=4)
    for size in ("6", "0", "", "-4", "4.0", "four", "400000", "²"):
        with pytest.raises(InputError, match=f"digits takes inputs of a multiple of 4 pixels, not of '{size}'"):
            task.resized(size)
    with pytest.raises(InputError, match="small takes inputs of its own size only; leave '@4' away"):
        Evens().task("small@4")
