"""`python -m twinsock` is the `twinsock` command."""

from twinsock.ui.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
