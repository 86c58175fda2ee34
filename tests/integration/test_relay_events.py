"""A relay tells events under the upstream's own ids, whatever becomes of either's log."""

from concurrent.futures import ThreadPoolExecutor

from microdose import keys
from microdose.manifest import Event, Manifest
from microdose_server.relay.log import KEEP
from microdose_server.store.lock import poll
from tests.broadcast import Broadcast
from tests.listening import listening, take
from tests.relays import Relayed, published, relay, relay_of
from tests.served import Served, events_path, manifest_path, problem

__all__ = ["published", "relay", "relay_of"]


def test_events_are_replayed_and_go_on(served: Served, relay: Relayed, published: Manifest) -> None:
    path = events_path(published.sequence)
    with listening(served, path) as there, listening(relay, path) as here:
        assert take(here, 5) == take(there, 5)
    with listening(relay, path, "3-0") as here:
        assert [event.id for event in take(here, 2)] == ["4-0", "5-0"]
        event = Event(seq=6, type="discontinuity").to_bytes()
        served.bus.xadd(keys.events(published.sequence), {"event": event}, id="6-0")
        assert next(here).id == "6-0"
    problem(relay.http.get(path, params={"after": "x"}), "invalid-request")


def test_a_viewer_goes_on_there_where_it_was_here(served: Served, relay: Relayed, live: Broadcast) -> None:
    path, heard = events_path(live.sequence), ["2-0"]
    for server in (served, relay, served, relay):
        with listening(server, path, heard[-1]) as events:
            live.picture()
            live.picture()
            heard += [str(event.id) for event in take(events, 2)]
    assert heard == [f"{n}-0" for n in range(2, 11)]


def test_who_has_an_id_of_another_time_is_told_to_start_again(
    served: Served, relay: Relayed, published: Manifest
) -> None:
    with listening(relay, events_path(published.sequence), "99-0") as events:
        reset = next(events)
        assert (reset.name, reset.id) == ("reset", "5-0")
        assert manifest_path(published.sequence) in reset.data
        event = Event(seq=6, type="discontinuity").to_bytes()
        served.bus.xadd(keys.events(published.sequence), {"event": event}, id="6-0")
        assert next(events).id == "6-0"


def test_a_log_that_was_lost_is_told_and_what_comes_then_is_heard(
    served: Served, relay: Relayed, published: Manifest
) -> None:
    key, path = keys.events(published.sequence), events_path(published.sequence)
    with listening(relay, path, "4-0") as events:
        assert next(events).id == "5-0"
        older = published.model_copy(update={"seq": 2, "version": 2, "last_event_id": "2-0"})
        with served.bus.pipeline(transaction=True) as pipeline:  # as from a back-up of before
            pipeline.set(keys.manifest(published.sequence), older.to_bytes())
            pipeline.delete(key)
            for seq in (1, 2):
                event = Event(seq=seq, type="discontinuity").to_bytes()
                pipeline.xadd(key, {"event": event}, id=f"{seq}-0")
            pipeline.execute()
        assert [(reset.name, reset.id) for reset in take(events, 1)] == [("reset", "2-0")]
        assert relay.http.get(manifest_path(published.sequence)).content == older.to_bytes()
        served.bus.xadd(key, {"event": Event(seq=3, type="end").to_bytes()}, id="3-0")
        assert [(event.name, event.id) for event in take(events, 1)] == [("end", "3-0")]


def test_viewers_of_a_sequence_that_was_lost_come_back_and_are_told(
    served: Served, relay: Relayed, published: Manifest
) -> None:
    name, waiting = published.sequence, f"?wait=30&since={published.version}"
    with listening(relay, events_path(name), "4-0") as events, ThreadPoolExecutor() as pool:
        assert next(events).id == "5-0"
        answer = pool.submit(relay.http.get, manifest_path(name) + waiting)
        assert poll(lambda: relay.metric("microdose_listeners") == 2, 60)
        served.bus.delete(*(key(name) for key in (keys.events, keys.manifest, keys.sequence, keys.frames)))
        assert [event.name for event in events] == ["bye"]
        problem(answer.result(), "not-found")
    problem(relay.http.get(events_path(name)), "not-found")


def test_what_a_relay_has_no_more_is_reset(served: Served, relay: Relayed, live: Broadcast) -> None:
    count = 2 * KEEP
    with served.bus.pipeline(transaction=False) as pipeline:
        for seq in range(3, count):
            event = Event(seq=seq, type="discontinuity").to_bytes()
            pipeline.xadd(keys.events(live.sequence), {"event": event}, id=f"{seq}-0")
        pipeline.execute()
    newest = {"seq": count - 1, "version": count - 1, "last_event_id": f"{count - 1}-0"}
    manifest = live.manifest.model_copy(update=newest)
    served.bus.set(keys.manifest(live.sequence), manifest.to_bytes())
    with listening(relay, events_path(live.sequence), f"{count - 10}-0") as recent:
        assert next(recent).id == f"{count - 9}-0"
        with listening(relay, events_path(live.sequence), "7-0") as old:
            assert next(old).name == "reset"


def test_viewers_of_a_removed_sequence_are_told(served: Served, relay: Relayed, published: Manifest) -> None:
    with listening(relay, events_path(published.sequence), "5-0") as events:
        served.http.delete(f"/v1/sequences/{published.sequence}")
        assert [(event.name, event.id) for event in events] == [("removed", "6-0")]  # and the stream ends
    problem(relay.http.get(events_path(published.sequence)), "gone")
    problem(relay.http.get(manifest_path(published.sequence)), "gone")
