"""Settings that all tests share."""

from hypothesis import HealthCheck, settings

# Machines of a test run are busy: time is no sign of a fault, and examples must not change from run to run.
settings.register_profile(
    "microdose", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("microdose")
