"""`python -m uncollapse` and the command `uncollapse`."""

import sys

from uncollapse.cli import main as run_command


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
