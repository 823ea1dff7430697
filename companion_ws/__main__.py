"""`python -m companion_ws` is `companion-ws`."""

from companion_ws.cli import main

if __name__ == "__main__":
    main(prog_name="python -m companion_ws")
