"""Networks whose inputs do not meet, with the shapes of an input: one for each way to apply a weight."""

import torch
from torch import nn
from torch.nn import functional as F


def chain(shape, *layers):
    """The layers and a classifier."""
    body = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(body, nn.Linear(body(torch.zeros(2, *shape)).shape[1], 5))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 5)

    def forward(self, x):
        x = F.gelu(self.embed(x))
        return self.head((x + self.mix(x)).flatten(1, -2).mean(1))


class Attention(nn.Module):
    def __init__(self, batch_first, need_weights=True, cross=False):
        super().__init__()
        sizes = {"kdim": 3, "vdim": 3} if cross else {}
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **sizes)
        self.need_weights, self.cross = need_weights, cross

    def forward(self, x):
        first, queries = self.attention.batch_first, self.embed(x)
        queries = queries if first else queries.transpose(0, 1)
        memory = (x if first else x.transpose(0, 1)) if self.cross else queries
        found = self.attention(queries, memory, memory, need_weights=self.need_weights)[0].tanh()
        return self.head(found.mean(1 if first else 0))


class Shared(nn.Module):
    """A weight applied to features and to features of features."""

    def __init__(self):
        super().__init__()
        self.again, self.head = nn.Conv1d(3, 3, 3, padding=1), nn.Linear(3, 5)

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.again(x)))).mean(2))


class SharedWithToken(nn.Module):
    """A weight applied to features and to a learned token, which nothing of the input reaches."""

    def __init__(self):
        super().__init__()
        self.embed, self.shared, self.head = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 5)
        self.token = nn.Parameter(torch.randn(3))

    def forward(self, x):
        found = self.shared(torch.tanh(self.embed(x)))
        return self.head(torch.tanh(found * self.shared(self.token.expand(len(x), 3))))


class Windows(nn.Module):
    """Windows of a sequence folded into the batch axis."""

    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv1d(2, 4, 2), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        windows = x.unflatten(2, (3, 4)).transpose(1, 2).flatten(0, 1)
        x = F.silu(self.mix(F.relu(self.conv(windows), inplace=True).mean(2)))
        return self.head(x.unflatten(0, (-1, 3)).mean(1))


class Dead(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.dead = nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, x):
        self.dead(x)
        return self.used(x)


class Table(nn.Module):
    """A bias of the logits from a table of seven rows, which are no inputs."""

    def __init__(self):
        super().__init__()
        self.body, self.of_table = nn.Linear(4, 5), nn.Linear(4, 5)
        self.register_buffer("table", torch.randn(7, 4))

    def forward(self, x):
        return self.body(x) + self.of_table(self.table).tanh().mean(0)


class Embedded(nn.Module):
    """Looks each input up in a table, so that there is no gradient with respect to it."""

    def __init__(self):
        super().__init__()
        self.table, self.mix, self.head = nn.Embedding(2, 4), nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(F.silu(self.mix(self.table((x > 0).long()))).mean(1))


class WithNorm(nn.Module):
    """A stem, a convolution that is applied twice, a grouped one, and a classifier; batch norm after each."""

    def __init__(self):
        super().__init__()
        self.stem, self.again = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1)
        self.grouped, self.head = nn.Conv2d(4, 6, 2, groups=2), nn.Linear(6, 5)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (4, 4, 4, 6))
        for norm in self.norms:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x):
        x = F.relu(self.norms[0](self.stem(x)))
        for norm in self.norms[1:3]:
            x = x + F.relu(norm(self.again(x)), inplace=True)
        return self.head(torch.tanh(self.norms[3](self.grouped(x))).mean((2, 3)))


def conv1d():
    return chain((2, 9), nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Conv1d(4, 6, 2, dilation=2, groups=2))


def conv2d():
    first = nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    return chain((3, 8, 6), first, nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3, padding="valid"))


def grouped():
    first = nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=2, dilation=2)
    return chain((4, 8, 7), first, nn.Tanh(), nn.Conv2d(6, 6, 2, padding=1, padding_mode="circular", groups=3))


def depthwise():
    return chain((4, 5, 5), nn.Conv2d(4, 8, 3, groups=4, padding=1), nn.Hardswish(), nn.Conv2d(8, 3, 1, stride=2))


def same():
    first = nn.Conv2d(2, 3, (4, 2), padding="same", dilation=(1, 3))
    return chain((2, 6, 5), first, nn.Tanh(), nn.Conv2d(3, 3, (3, 2), padding="same", groups=3))


def conv3d():
    first = nn.Conv3d(2, 3, (3, 2, 2), stride=(2, 1, 1), padding=(1, 0, 1))
    return chain((2, 6, 3, 3), first, nn.Tanh(), nn.Conv3d(3, 3, 2, groups=3, dilation=(1, 1, 2)))


def transposed1d():
    return chain((2, 4), nn.ConvTranspose1d(2, 4, 3, stride=2, padding=1, output_padding=1), nn.Tanh(), nn.AvgPool1d(3))


def transposed2d():
    first = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    return chain((4, 3, 2), first, nn.Tanh(), nn.ConvTranspose2d(6, 2, (2, 3), dilation=(3, 2)), nn.AvgPool2d(3))


def transposed3d():
    first = nn.ConvTranspose3d(2, 4, (3, 2, 3), stride=2, padding=(1, 0, 1), output_padding=1, groups=2)
    return chain((2, 2, 3, 2), first, nn.Tanh(), nn.AvgPool3d(2))


NETWORKS = {
    "conv1d": (conv1d, 2, 9),
    "conv2d": (conv2d, 3, 8, 6),
    "groups": (grouped, 4, 8, 7),
    "depthwise": (depthwise, 4, 5, 5),
    "same": (same, 2, 6, 5),
    "conv3d": (conv3d, 2, 6, 3, 3),
    "transposed 1d": (transposed1d, 2, 4),
    "transposed 2d": (transposed2d, 4, 3, 2),
    "transposed 3d": (transposed3d, 2, 2, 3, 2),
    "linear": (lambda: chain((4,), nn.Linear(4, 7), nn.Sigmoid(), nn.Linear(7, 4, bias=False), nn.ReLU()), 4),
    "tokens": (Tokens, 4, 3),
    "grid of tokens": (Tokens, 2, 3, 3),
    "attention, batch first": (lambda: Attention(True), 4, 3),
    "attention, sequence first": (lambda: Attention(False), 6, 3),
    "attention without weights": (lambda: Attention(True, need_weights=False), 4, 3),
    "attention without weights, sequence first": (lambda: Attention(False, need_weights=False), 4, 3),
    "cross attention": (lambda: Attention(True, cross=True), 4, 3),
    "shared weight": (Shared, 3, 5),
    "shared with a token": (SharedWithToken, 4),
    "windows": (Windows, 2, 12),
    "dead node": (Dead, 4),
    "embedding": (Embedded, 7),
}
