"""Rank architectures with a trained ranker: python evaluate.py --ranker RUN/ranker."""

from parzc.commands.evaluate import main

if __name__ == "__main__":
    main()
