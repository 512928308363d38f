"""`python -m bench.proxy`."""

from bench.proxy.command import main

if __name__ == "__main__":
    main()
