"""Serve the rendered book on this machine; takes the next free port when one is in use."""

import functools
import http.server
import os
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "_build" / "html"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the terminal for the address."""


def port_asked_for() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"PORT must be a number from 1 to 65535, not {text!r}: make serve PORT=8000")
    return int(text)


def server(first_port: int) -> http.server.ThreadingHTTPServer:
    handler = functools.partial(Handler, directory=str(PAGES))
    for port in range(first_port, min(first_port + 20, 65536)):
        try:
            return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            continue
    sys.exit(f"No free port from {first_port} on; name another: make serve PORT=9000")


def main() -> None:
    if not (PAGES / "index.html").exists():
        sys.exit("There is no rendered book yet: run `make book` first.")
    with server(port_asked_for()) as pages:
        address = f"http://127.0.0.1:{pages.server_port}/"
        print(f"The book is at {address} (stop with Ctrl-C)", flush=True)
        try:
            pages.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
