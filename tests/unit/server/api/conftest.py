from tests.valkey import bus, redis_url

__all__ = ["bus", "redis_url"]
