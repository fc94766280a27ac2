"""`python -m drillcore` is the `drillcore` command."""

from drillcore.cli import main

if __name__ == "__main__":
    main()
