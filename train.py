"""Train a ranker: python train.py --space nb201 --samples 78."""

from parzc.commands.train import main

if __name__ == "__main__":
    main()
