from tests.hub_fixtures import delivered, finished, hub

__all__ = ["delivered", "finished", "hub"]
