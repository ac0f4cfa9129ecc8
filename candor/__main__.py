"""`candor` and `python -m candor`: the command line, if Candor's packages are its own."""

import sys

from candor.import_conflicts import ForeignPackage, require_own_packages


def main() -> None:
    """Run the command line. A foreign package in place of Candor's is exit code 1."""
    try:
        require_own_packages()
    except ForeignPackage as error:
        sys.stderr.write(f"candor: {error}\n")
        sys.exit(1)
    from candor import command_line  # which imports packages that are only now known to be Candor's

    command_line.main()


if __name__ == "__main__":
    main()
