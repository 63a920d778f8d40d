"""`python -m codenas` is `codenas`."""

from codenas.interrupts import hold_back


def main() -> None:
    """Run the command line. It is imported here, when an interrupt can no longer show its insides."""
    hold_back()
    from codenas.cli import app

    app.main()


if __name__ == "__main__":
    main()
