"""The finished tiny run of the sampling tests."""

from tests.sampling.conftest import runs

__all__ = ["runs"]
