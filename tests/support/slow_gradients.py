"""Gradients of single inputs and what is summed over them, the slow way: one input at a time, loops over weights."""

import math

import numpy as np
import torch
from torch.nn import functional as F

LABELS = torch.tensor([0, 3, 1, 4, 1, 2])


def seeded(build, *shape, seed=0):
    """A network in float64 and six inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().double(), torch.randn(6, *shape, dtype=torch.float64)


def weights(network, nodes):
    """The parameter of each node, and which of its rows."""
    parameters = dict(network.named_parameters())
    for node in nodes:
        name, _, rows = node.rstrip("]").partition("[")
        rows = slice(*map(int, rows.split(":"))) if rows else slice(None)
        yield parameters[name if name in parameters else f"{name}.weight"], rows


def derivatives(value, network, nodes):
    """The gradient of `value` at each node."""
    wanted = list(weights(network, nodes))
    found = torch.autograd.grad(
        value, [p for p, _ in wanted], retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return [g[rows].flatten() for g, (_, rows) in zip(found, wanted, strict=True)]


def alone(network, x, labels, nodes):
    """For each node the gradients `(n, weights)` of the own loss, and of the own logits, each input run by itself."""
    network.train()
    losses, logits = [], []
    for i in range(len(x)):
        output = network(x[i : i + 1].clone())
        losses.append(derivatives(F.cross_entropy(output, labels[i : i + 1]), network, nodes))
        logits.append(derivatives(output.sum(), network, nodes))
    return [torch.stack(g) for g in zip(*losses, strict=True)], [torch.stack(g) for g in zip(*logits, strict=True)]


def by_copies(network, x, labels):
    """As `alone` for a `WithNorm` built by hand with one weight for each input, which meet in batch norm."""
    layers = [network.stem, network.again, network.grouped, network.head]
    stem, again, grouped, head = ([m.weight.detach().clone().requires_grad_() for _ in x] for m in layers)

    def conv(x, copies, bias, **options):
        return torch.cat([F.conv2d(x[i : i + 1], w, bias, **options) for i, w in enumerate(copies)])

    def norm(x, module):
        return F.batch_norm(x, None, None, module.weight, module.bias, training=True)

    h = norm(conv(x, stem, None, stride=2, padding=1), network.norms[0]).relu()
    h = h + norm(conv(h, again, network.again.bias, padding=1), network.norms[1]).relu()
    h = h + norm(conv(h, again, network.again.bias, padding=1), network.norms[2]).relu()
    h = norm(conv(h, grouped, network.grouped.bias, groups=2), network.norms[3]).tanh().mean((2, 3))
    logits = torch.stack([w @ h[i] + network.head.bias for i, w in enumerate(head)])
    found = []
    for value in (F.cross_entropy(logits, labels) * len(x), logits.sum()):
        nodes = [torch.autograd.grad(value, copies, retain_graph=True) for copies in (stem, again, grouped, head)]
        found.append([torch.stack([g.flatten() for g in node]) for node in nodes])
    return found


def slow_sums(samples):
    """What is summed over the columns of `(n, weights)`, one weight after the other."""
    sums = dict.fromkeys(
        ("zico", "zico_signed", "gsnr", "xi_gsnr", "gsnr_mean", "gsnr_variance", "xi_gsnr_variance"), 0.0
    ) | {"xi_gsnr_accumulated": 0.0, "gradsign": 0.0}
    for g in samples.double().T.tolist():
        size, running = [abs(v) for v in g], [math.fsum(g[: i + 1]) for i in range(len(g))]
        (mean, variance), (mean_size, variance_of_size), late = moments(g), moments(size), moments(running)
        sums["zico"] += mean_size / math.sqrt(variance_of_size) if variance_of_size else 0
        sums["zico_signed"] += mean_size / math.sqrt(variance) if variance else 0
        sums["gsnr"] += mean**2 / variance if variance else 0
        sums["gsnr_variance"] += 1 / variance if variance else 0
        sums["gsnr_mean"] += mean**2
        sums["xi_gsnr"] += mean**2 / (variance + 1e-8)
        sums["xi_gsnr_variance"] += 1 / (variance + 1e-8)
        sums["xi_gsnr_accumulated"] += late[0] ** 2 / (late[1] + 1e-8)
        sums["gradsign"] += abs(sum((v > 0) - (v < 0) for v in g))
    return sums


def moments(values):
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / len(values)


def slow_kernel(samples):
    """The scalar product of each pair of rows of `(n, weights)`."""
    rows = samples.tolist()
    return np.array([[math.fsum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows])


def slow_samples(losses, logits):
    """The sums `{name: (nodes,)}` and the kernels `(nodes, n, n)`."""
    sums = [slow_sums(samples) for samples in losses]
    return {name: np.array([s[name] for s in sums]) for name in sums[0]}, np.stack([slow_kernel(g) for g in logits])


def assert_same(samples, sums, kernel, rtol=1e-6):
    assert sorted(samples.sums) == sorted(sums)
    for name, values in sums.items():
        np.testing.assert_allclose(samples.sums[name], values, rtol=rtol, err_msg=name)
    np.testing.assert_allclose(samples.kernel, kernel, rtol=rtol, atol=rtol * np.abs(kernel).max(initial=0))
