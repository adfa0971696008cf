"""Writes `solutions/trained/`: the reference network's checkpoint and record, for the tests and the demo's class.

    python -m solutions.train_reference      (a few minutes on two cores; again after a change of drawn_pets.py or the network)

Half the lab's width and half precision keep the file at one megabyte; it loads into a float32 network like any other.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from data_utils import make_loaders
from grader.experiment import CHECKPOINT, RECORD
from metrics import evaluate
from solutions.reference import reference

FOLDER = Path(__file__).with_name("trained")
RECIPE = {"features": [8, 16, 32, 64], "data": "synthetic", "size": 64, "count": 2000, "epochs": 20, "lr": 2e-3, "seed": 42}


def main() -> None:
    """Train, and write what a student would hand in."""
    torch.manual_seed(RECIPE["seed"])
    loaders = make_loaders(RECIPE["data"], RECIPE["size"], 16, count=RECIPE["count"], seed=RECIPE["seed"])
    network = reference().UNet(features=RECIPE["features"]).to(memory_format=torch.channels_last)
    reference().train_model(network, loaders.train, loaders.val, epochs=RECIPE["epochs"], lr=RECIPE["lr"], device="cpu")
    scores = evaluate(network, loaders.val, "cpu")
    FOLDER.mkdir(exist_ok=True)
    weights = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    torch.save({name: value.contiguous() for name, value in weights.items()}, FOLDER / CHECKPOINT)
    record = {**RECIPE, "val": {name: round(value, 4) for name, value in scores.items()}}
    (FOLDER / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(record)


if __name__ == "__main__":
    main()
