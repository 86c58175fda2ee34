import hashlib

import pytest
from pydantic import TypeAdapter, ValidationError

from microdose.digest import Digest, digest_of, is_digest, prefix, verify
from microdose.errors import DigestMismatch


def test_digest_names_the_sha256() -> None:
    assert digest_of(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()


def test_verify_accepts_the_right_bytes_and_refuses_others() -> None:
    verify(b"abc", digest_of(b"abc"))
    with pytest.raises(DigestMismatch, match="fetch them again"):
        verify(b"abd", digest_of(b"abc"))


def test_prefix_is_the_first_eight_raw_bytes() -> None:
    assert prefix(digest_of(b"abc")) == hashlib.sha256(b"abc").digest()[:8]


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "SHA256:" + "0" * 64, "sha256:" + "G" * 64]
)
def test_malformed_digests_are_refused(text: str) -> None:
    with pytest.raises(DigestMismatch):
        prefix(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Digest).validate_python(text)


def test_a_digest_cannot_hide_a_path_or_a_line_break() -> None:
    for text in (digest_of(b"") + "\n", "../" + digest_of(b""), digest_of(b"") + "/x"):
        with pytest.raises(ValidationError):
            TypeAdapter(Digest).validate_python(text)
        assert not is_digest(text)
