"""``python -m gorkflow``: the command line."""

from gorkflow.cli import main

if __name__ == "__main__":
    main()
