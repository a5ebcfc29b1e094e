"""The finished tiny run of the sampling tests."""

from tests.inference.conftest import runs

__all__ = ["runs"]
