import pytest

from microdose.digest import MAX_BLOB_BYTES, digest_of
from microdose_server.api.body import limit_of
from microdose_server.settings import Limits
from tests.served import unknown


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/v1/sequences", 7),
        (f"/v1/sequences/{unknown()}/complete", 7),
        (f"/v1/sequences/{unknown()}/frames/7", 5),
        ("/v1/sequences:upload", 9 + 3),
        (f"/v1/blobs/{digest_of(b'')}", MAX_BLOB_BYTES),
        (f"/v1/originals/{digest_of(b'')}", MAX_BLOB_BYTES),
        (f"/v1/checkpoints/{digest_of(b'')}", MAX_BLOB_BYTES),
        ("/nothing", 7),
    ],
)
def test_each_path_has_its_limit(path: str, limit: int) -> None:
    limits = Limits(max_picture_bytes=5, max_upload_bytes=9, max_form_overhead=3, max_json_bytes=7)
    assert limit_of(path, limits) == limit
