"""`python -m codenas` is `codenas`."""

from codenas.interrupts import defer_interrupts


def main() -> None:
    """Run the command line. It is imported here, when an interrupt can no longer show its insides."""
    defer_interrupts()
    from codenas.cli import app

    app.main()


if __name__ == "__main__":
    main()
