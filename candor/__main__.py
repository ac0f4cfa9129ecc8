"""`candor` and `python -m candor`: the command line, if Candor's packages are its own."""

import sys


def main() -> None:
    """Run the command line. A foreign package in place of Candor's is exit code 1, Ctrl-C is 130.

    Imports are inside, so that Ctrl-C leaves no trace of them.
    """
    try:
        from candor.import_conflicts import ForeignPackage, require_own_packages

        try:
            require_own_packages()
        except ForeignPackage as error:
            sys.stderr.write(f"candor: {error}\n")
            sys.exit(1)
        from candor import command_line  # only now are its packages known to be Candor's

        command_line.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
