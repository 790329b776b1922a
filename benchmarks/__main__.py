"""``python -m benchmarks SUITE``."""

from benchmarks.harness.command import main

if __name__ == "__main__":
    main()
