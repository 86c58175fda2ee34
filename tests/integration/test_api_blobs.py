"""Blobs over HTTP: immutable, cacheable, in ranges; originals are never among them."""

import base64
import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microdose.base import load_base
from microdose.digest import digest_of
from microdose.resources import BaseInfo
from microdose_server.api.bases import publish_base
from microdose_server.api.blobs import SMALL
from microdose_server.store.blobs import BlobStore, public_blobs
from tests.live import live_api
from tests.photos import encode, photo
from tests.served import Serve, Served, problem
from tests.tiny_base import tiny_base

DATA = bytes(range(256)) * 1000


@pytest.fixture
def path(served: Served) -> str:
    return f"/v1/blobs/{public_blobs(served.settings.data_dir).put(DATA)}"


@pytest.mark.parametrize("data", [DATA, DATA[:SMALL], b"", b"x"], ids=len)
def test_a_blob_is_sent_with_its_name_and_for_ever(served: Served, data: bytes) -> None:
    path = f"/v1/blobs/{public_blobs(served.settings.data_dir).put(data)}"
    answer = served.http.get(path)
    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{digest_of(data)}"'
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["accept-ranges"] == "bytes"
    head = served.http.head(path)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(data))
    assert head.headers["etag"] == answer.headers["etag"]


def test_who_has_it_is_not_sent_it_again(served: Served, path: str) -> None:
    answer = served.http.get(path, headers={"If-None-Match": f'"{digest_of(DATA)}"'})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-9", DATA[:10]), ("bytes=255990-", DATA[255990:]), ("bytes=-7", DATA[-7:])],
)
def test_a_range_of_it(served: Served, path: str, wanted: str, part: bytes) -> None:
    headers = {"Range": wanted, "If-Range": f'"{digest_of(DATA)}"'}
    answer = served.http.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"].endswith(f"/{len(DATA)}")


def test_several_ranges_come_as_parts(served: Served, path: str) -> None:
    answer = served.http.get(path, headers={"Range": "bytes=0-1,1000-1001"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")


@pytest.mark.parametrize(
    "wanted", ["bytes=", "bytes=x-", "lines=0-1", "bytes=9-1", "bytes=--1", "0-1", "bytes=-"]
)
def test_a_range_that_is_none_is_ignored(served: Served, path: str, wanted: str) -> None:
    assert served.http.get(path, headers={"Range": wanted}).content == DATA


def test_a_range_of_other_bytes_is_ignored(served: Served, path: str) -> None:
    assert served.http.get(path, headers={"Range": "bytes=0-1", "If-Range": '"x"'}).content == DATA


@pytest.mark.parametrize("wanted", ["bytes=256000-", "bytes=999999-9999999", "bytes=-0", "bytes=0-1,999999-"])
def test_a_range_outside_is_not_satisfiable(served: Served, path: str, wanted: str) -> None:
    answer = served.http.get(path, headers={"Range": wanted})
    problem(answer, "range-not-satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("bytes=0123456789-, ;"), max_size=40))
def test_no_range_header_upsets_it(served: Served, path: str, wanted: str) -> None:
    answer = served.http.get(path, headers={"Range": f"bytes={wanted}".rstrip()})
    assert answer.status_code in (200, 206, 416)


@pytest.mark.parametrize(
    "digest", [f"sha256:{64 * '0'}", "sha256:12", "nonsense", "..%2F..%2Fkey", f"md5:{32 * '0'}"]
)
def test_an_unknown_blob_is_not_found(served: Served, digest: str) -> None:
    problem(served.http.get(f"/v1/blobs/{digest}"), "not-found")


def test_an_original_is_no_blob(served: Served) -> None:
    data = encode(photo())
    served.put(served.create(), 0, data)
    problem(served.http.get(f"/v1/blobs/{digest_of(data)}"), "not-found")


def test_a_base_on_offer_can_be_fetched_whole(serve: Serve) -> None:
    served = serve()
    base = tiny_base()
    with live_api(served.settings, load_bases=lambda blobs: (publish_base("standard", base, blobs),)) as url:
        answer = served.http.get(f"{url}/v1/bases")
        (info,) = (BaseInfo.model_validate(item) for item in answer.json())
        assert (info.profile, info.name) == ("standard", base.document.name)
        assert info.base.digest == base.digest
        document = served.http.get(f"{url}/v1/blobs/{info.base.digest}").content
        loaded = load_base(document, lambda d: served.http.get(f"{url}/v1/blobs/{d.digest}").content)
        assert loaded == base


def test_a_profile_without_a_base_is_refused_and_told_which_have_one(serve: Serve) -> None:
    served = serve()
    bases = {"live": tiny_base(1), "standard": tiny_base()}

    def publish(blobs: BlobStore) -> tuple[BaseInfo, ...]:
        return tuple(publish_base(profile, base, blobs) for profile, base in bases.items())

    with live_api(served.settings, load_bases=publish) as url:
        listed = [BaseInfo.model_validate(item) for item in served.http.get(f"{url}/v1/bases").json()]
        assert {info.profile: info.base.digest for info in listed} == {
            profile: base.digest for profile, base in bases.items()
        }
        answer = served.http.post(f"{url}/v1/sequences", json={"profile": "live"})
        assert (answer.status_code, answer.json()["profile"]) == (201, "live")
        refused = problem(
            served.http.post(f"{url}/v1/sequences", json={"profile": "huge"}), "invalid-request"
        )
        assert refused.errors[0].pointer == "/profile"
        assert "there are live, standard" in str(refused.detail)
        files = [("files", ("a.png", encode(photo())))]
        problem(
            served.http.post(f"{url}/v1/sequences:upload", data={"profile": "huge"}, files=files),
            "invalid-request",
        )


def test_without_a_base_none_is_on_offer(served: Served) -> None:
    assert served.http.get("/v1/bases").json() == []
