"""What pyproject.toml cannot say: conf/ and the miniature travel inside the package, and all others are found."""

from setuptools import find_packages, setup

BESIDE = {"emote.conf": "conf", "emote.weights": "weights"}  # where emote/util/places.py looks

setup(
    packages=[*find_packages(include=["emote", "emote.*"]), *BESIDE],
    package_dir=BESIDE,
)
