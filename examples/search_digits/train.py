"""Train one network of the space on 600 digits: python train.py --arch ARCH --out FOLDER [--epochs 40].

Writes FOLDER/result.json with the accuracy in % on the other 1,197 digits. An architecture always gets the same value.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from space import space
from torch.nn.functional import cross_entropy

parser = argparse.ArgumentParser()
parser.add_argument("--arch", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()
begin = time.perf_counter()
torch.set_num_threads(1)
torch.manual_seed(0)

images, digits = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
images, order = images.float().view(-1, 1, 8, 8) / 8 - 1, torch.randperm(len(digits))
train, test = order[:600], order[600:]

network = space.network(args.arch)
optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=args.epochs * 10)
for _ in range(args.epochs):
    for batch in train[torch.randperm(600)].split(60):
        optimizer.zero_grad()
        cross_entropy(network(images[batch]), digits[batch]).backward()
        optimizer.step()
        schedule.step()

with torch.no_grad():
    accuracy = (network.eval()(images[test]).argmax(1) == digits[test]).double().mean().item()
result = {"value": 100 * accuracy, "seconds": time.perf_counter() - begin, "epochs": args.epochs}
(Path(args.out) / "result.json").write_text(json.dumps(result))
