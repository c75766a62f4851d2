"""`python -m noref` is the command `noref`."""

from noref.cli import main

if __name__ == "__main__":
    main()
