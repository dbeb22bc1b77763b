"""Where tests may connect to."""

LINKS = "10.213.0.0/16"
"""Network namespaces that tests make: hosts of their own, on links that go nowhere else."""

THIS_MACHINE = ["127.0.0.1", "::1", "localhost", LINKS]
