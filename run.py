"""Start the server from a checkout: `python run.py` is `companion-ws`."""

from companion_ws.cli import main

if __name__ == "__main__":
    main()
