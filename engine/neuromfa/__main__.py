"""Lets ``python -m neuromfa`` do what ``neuromfa`` does."""

from neuromfa.cli import main

if __name__ == "__main__":
    main()
