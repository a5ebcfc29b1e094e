"""The samplers are tried through the image generator."""

from tests.inference.conftest import image_generator as image_generator
