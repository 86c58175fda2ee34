from tests.programs import start
from tests.served import serve, served, standing_api
from tests.valkey import bus, redis_url
from tests.workers import start_worker

__all__ = ["bus", "redis_url", "serve", "served", "standing_api", "start", "start_worker"]
