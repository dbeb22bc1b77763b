"""The log over HTTP."""

import http.server
import urllib.request

from log import where


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the line of the log."""

    def do_GET(self) -> None:
        """Send the line as text."""
        body = where().encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(port: int) -> None:
    """Serve until the process is told to stop."""
    http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()


def ping(port: int) -> int:
    """0 if a voyage serves on this machine, else 1."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except OSError:
        return 1
    return 0
