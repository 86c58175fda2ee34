"""The meter: rates of the last seconds, counts of all."""

import numpy as np

from microdose.decoder import Timings
from microdose_client.play import DecodedPicture
from microdose_client.watch import SPAN_S, Meter


def picture(n: int, published: float | None = None, size: int = 1000) -> DecodedPicture:
    pixels = np.zeros((1, 1, 3), np.uint8)
    return DecodedPicture(n, None, 0, size, pixels, Timings(1.0, 2.0, 3.0), published)


def test_rates_are_of_the_last_seconds() -> None:
    meter = Meter()
    for n in range(100):
        reading = meter.show(picture(n, published=n / 10 - 0.25), now=n / 10)
    assert reading.pictures == 100
    assert reading.fps is not None
    assert round(reading.fps, 6) == 10
    assert reading.kbit_s is not None
    assert round(reading.kbit_s, 6) == 80
    assert reading.latency_ms is not None
    assert round(reading.latency_ms) == 250
    assert reading.decode_ms == 6
    reading = meter.show(picture(100), now=100)
    assert (reading.fps, reading.kbit_s, reading.latency_ms) == (None, None, None)
    assert SPAN_S < 90


def test_numbers_that_are_skipped_are_counted_and_told() -> None:
    meter = Meter()
    meter.show(picture(5), now=0)
    reading = meter.show(picture(9), now=1)
    assert reading.missing == 3
    assert str(reading) == "picture 9, epoch 0, 1.0 fps, 8 kbit/s, decoding 6.0 ms, 3 missing"
