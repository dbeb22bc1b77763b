"""The HTTP/1.1 engine of the server: see README.md."""
