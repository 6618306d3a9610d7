"""What a proxy's rank correlation owes to settings that formulas leave open, or that published code sets otherwise.

    python benchmarks/settings.py --table nb201.csv.gz --data cifar10.npz --work DIR

The first 300 of the architectures of `benchmarks/proxies.py`, their CIFAR-10 test accuracies, real images. Where the
package takes gradients otherwise, they are taken one by one with plain autograd. The values stay in `--work`, one json
file for each group, so that a run that was stopped goes on where it was.
"""

import argparse
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _records import RESULTS, machine, read, write
from joblib import Parallel, delayed, parallel_config
from proxies import ARCHS, accuracies, correlations
from torch import Tensor, nn
from torch.nn import functional as F

import parzc
from parzc.datasets import get_space
from parzc.features import ExtractionConfig
from parzc.features.extraction.many_archs import load_batch
from parzc.files import write_atomically

ARCHITECTURES = 300
Values = dict[str, float]


def gradsign(arch: str, images: Tensor, labels: Tensor) -> Values:
    """Inputs of one batch that share its batch norm, and each input through batch norm alone (published code)."""
    network, images, labels = get_space("nb201").network(arch), images[:64], labels[:64]
    signs = [torch.zeros_like(weight) for weight in weights_of(network)]
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        gradients = gradients_of(F.cross_entropy(network(image), label), weights_of(network))
        for total, gradient in zip(signs, gradients, strict=True):
            total += gradient.sign()
    together = parzc.score(get_space("nb201").network(arch), images, ["gradsign"], labels)
    return {
        "inputs share batch norm": together["gradsign"],
        "each input through batch norm alone": float(sum(total.abs().double().sum() for total in signs)),
    }


def kernel(arch: str, images: Tensor, _labels: Tensor) -> Values:
    """Condition number and mean of the tangent kernel of 16 inputs.

    As the package takes gradients, each input's share of one pass; and one pass for the logits of each input (published
    code), of which parameters and of which initial weights.
    """
    shares = parzc.score(get_space("nb201").network(arch), images[:16], ["ntk", "knas"])
    found = {"ntk: shares of one pass": -shares["ntk"], "knas: shares of one pass": shares["knas"]}
    for weights, network in initialised(arch).items():
        logits, kernels = network(images[:16]).sum(1), dict[str, Tensor]()
        of_weights = len(weights_of(network))
        parameters = [*weights_of(network), *scales_of(network)]
        rows = [[g.flatten().double() for g in gradients_of(logit, parameters)] for logit in logits]
        for part in range(len(parameters)):
            own = torch.stack([row[part] for row in rows])
            for which in ("weights", "weights and norm scales")[part >= of_weights :]:
                kernels[which] = kernels.get(which, torch.zeros(16, 16).double()) + own @ own.T
        for which, product in kernels.items():
            values = torch.linalg.eigvalsh(product)
            # As in the package: an eigenvalue below the rounding error of single precision is zero.
            regular = values[0] > values[-1] * len(values) * torch.finfo(torch.float32).eps
            found[f"ntk: {which}, {weights}"] = float(-values[-1] / values[0]) if regular else math.nan
            found[f"knas: {which}, {weights}"] = float(product.mean())
    return found


def zen(arch: str, images: Tensor, _labels: Tensor) -> Values:
    return of_both_networks(arch, images[:64], ["zen", "zen_published"])


def nwot(arch: str, images: Tensor, _labels: Tensor) -> Values:
    few, many = (of_both_networks(arch, images[:n], ["nwot"]) for n in (64, 128))
    return {f"{name}, 64 inputs": value for name, value in few.items()} | {
        f"{name}, 128 inputs": value for name, value in many.items()
    }


def jacobian(arch: str, images: Tensor, _labels: Tensor) -> Values:
    """The Jacobian of 64 inputs with batch norm as it is (published code), and with what one input cannot change.

    With the statistics of the batch as constants a row holds what an input does to its own output, as the formula says,
    and nothing of what it does to the others.
    """
    coupled, alone = (get_space("nb201").network(arch) for _ in range(2))
    for module in alone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = partial(with_constant_statistics, module)
    return {
        f"jacob_cov: {what}": parzc.score(network, images[:64], ["jacob_cov"])["jacob_cov"]
        for what, network in {"inputs share batch norm": coupled, "statistics of the batch as constants": alone}.items()
    }


def with_constant_statistics(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
    return F.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.eps)


def of_both_networks(arch: str, images: Tensor, proxies: list[str]) -> Values:
    """Of networks without operations that do nothing, and of those that the strings spell (published code)."""
    found = {}
    for what, string in {"simplest network": get_space("nb201").canonical(arch), "as built": arch}.items():
        scores = parzc.score(get_space("nb201").network(string), images, proxies)
        found |= {f"{name}: {what}": value for name, value in scores.items()}
    return found


GROUPS: Mapping[str, Callable[[str, Tensor, Tensor], Values]] = {
    "zen": zen,
    "nwot": nwot,
    "kernel": kernel,
    "gradsign": gradsign,
    "jacobian": jacobian,
}


def weights_of(network: nn.Module) -> list[Tensor]:
    return [p for p in network.parameters() if p.ndim > 1]


def scales_of(network: nn.Module) -> list[Tensor]:
    return [module.weight for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def gradients_of(value: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    found: Sequence[Tensor] = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return found


def initialised(arch: str) -> dict[str, nn.Module]:
    """Return the network with PyTorch's initial weights, and with those of He et al., drawn place by place."""
    networks = {name: get_space("nb201").network(arch) for name in ("default weights", "He's weights")}
    for name, weight in networks["He's weights"].named_parameters():
        if weight.ndim > 1:
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            nn.init.kaiming_normal_(weight, generator=generator)
    return networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="table with the official accuracies")
    parser.add_argument("--data", required=True, help=".npz with x_train and y_train")
    parser.add_argument("--work", required=True, help="folder for the values")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="(default: all)")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    archs = ARCHS.read_text(encoding="utf-8").split()[:ARCHITECTURES]
    accuracy = accuracies(args.table, archs)["cifar10_test"]
    batch = load_batch(ExtractionConfig("nb201", "cifar10", 128, args.data))
    path = RESULTS / "nb201-settings.json"
    for group in args.groups:
        known = measured(group, archs, batch, Path(args.work) / f"{group}.json", args.workers)
        record = read(path, {"groups": {}})
        record |= {"archs": ARCHS.name, "first": len(archs), "machine": machine()}
        record["groups"][group] = {
            name: correlations(np.array([known[arch][name] for arch in archs]), accuracy) for name in known[archs[0]]
        }
        write(path, record)
        for name, found in record["groups"][group].items():
            print(f"{group:10} {name:50} {found['kendall']:.3f} ± {found['kendall_std']:.3f}", flush=True)


def measured(
    group: str, archs: Sequence[str], batch: tuple[Tensor, Tensor | None], path: Path, workers: int
) -> dict[str, Values]:
    """Return the values of each architecture, measured once for each function where its string does not matter."""
    space = get_space("nb201")
    rows = {arch: arch if group in ("zen", "nwot") else space.canonical(arch) for arch in archs}
    known: dict[str, Values] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = sorted(set(rows.values()) - known.keys())
    path.parent.mkdir(parents=True, exist_ok=True)
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        found = Parallel(return_as="generator")(delayed(one)(group, arch, *batch) for arch in missing)
        for arch, values in zip(missing, found, strict=True):
            known[arch] = values
            write_atomically(path, json.dumps(known).encode())
    return {arch: known[row] for arch, row in rows.items()}


def one(group: str, arch: str, images: Tensor, labels: Tensor) -> Values:
    torch.set_num_threads(1)
    return GROUPS[group](arch, images, labels)


if __name__ == "__main__":
    main()
