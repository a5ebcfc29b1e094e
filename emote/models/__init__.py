"""The base model's parts, the adapter on its UNet, the adapter's files, and what precision all of it has."""
