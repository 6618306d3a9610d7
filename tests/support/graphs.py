"""Random graphs for the encoders of architectures."""

import torch
import torch.nn.functional as F

OPERATIONS = 5


def batch(sizes, seed=0):
    """Return operations, adjacency and mask of random acyclic graphs of these sizes, an isolated vertex in each."""
    generator, width = torch.Generator().manual_seed(seed), max(sizes)
    labels = torch.randint(OPERATIONS, (len(sizes), width), generator=generator)
    mask = torch.arange(width) < torch.tensor(sizes)[:, None]
    adjacency = torch.triu(torch.rand(len(sizes), width, width, generator=generator) < 0.4, 1)
    adjacency[:, 1], adjacency[:, :, 1] = False, False
    adjacency &= mask[:, :, None] & mask[:, None, :]
    return F.one_hot(labels, OPERATIONS).bool() & mask[:, :, None], adjacency, mask


def padded(graphs, width):
    """Return the same graphs with more room."""
    operations, adjacency, mask = graphs
    more = width - mask.shape[1]
    return F.pad(operations, (0, 0, 0, more)), F.pad(adjacency, (0, more, 0, more)), F.pad(mask, (0, more))


def permuted(graphs, seed=7):
    """Return the same graphs with their vertices, padding included, in another order."""
    operations, adjacency, mask = graphs
    order = torch.randperm(mask.shape[1], generator=torch.Generator().manual_seed(seed))
    assert not torch.equal(order, torch.arange(len(order)))
    return operations[:, order], adjacency[:, order][:, :, order], mask[:, order]
