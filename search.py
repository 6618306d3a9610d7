"""Search for the best architecture: python search.py --space nb201 --trainings 30."""

from parzc.commands.search import main

if __name__ == "__main__":
    main()
