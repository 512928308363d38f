"""Run `python -m bench.chaos`."""

from bench.chaos.command import main

if __name__ == "__main__":
    main()
