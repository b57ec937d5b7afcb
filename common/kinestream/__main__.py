"""`python -m kinestream`: the command `kinestream`, for where the console script is not on PATH."""

from kinestream.cli import main

if __name__ == "__main__":
    main()
