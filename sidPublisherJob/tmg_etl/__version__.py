"""The version: image tag, chart and wheel read it here."""

__version__ = "0.1.0"
