"""Argosy: from a Dockerfile to every node that runs it."""

__version__ = "0.1.0"
