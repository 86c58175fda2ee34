import fnmatch

from microdose import keys
from microdose.digest import digest_of

ID = "0" * 26


def test_names_are_those_of_the_protocol() -> None:
    digest = digest_of(b"")
    assert keys.manifest(ID) == f"md:pub:{{s:{ID}}}:manifest"
    assert keys.events(ID) == f"md:pub:{{s:{ID}}}:events"
    assert keys.blob_chunk(digest, 3) == f"md:pub:{{b:{digest}}}:3"
    assert keys.blob_meta(digest) == f"md:pub:{{b:{digest}}}:meta"
    assert keys.job(ID) == f"md:job:{ID}"
    assert keys.job_events(ID) == f"md:job:{ID}:events"


def test_keys_that_one_script_touches_share_a_hash_tag() -> None:
    tags = {
        name.split("{")[1].split("}")[0]
        for name in (keys.manifest(ID), keys.events(ID), keys.fence(ID), keys.sequence(ID), keys.frames(ID))
    }
    assert tags == {f"s:{ID}"}


def test_viewers_see_only_what_is_public() -> None:
    private = [
        keys.fence(ID),
        keys.sequence(ID),
        keys.frames(ID),
        keys.job(ID),
        keys.api_key("k"),
        keys.jobs(),
    ]
    assert not any(fnmatch.fnmatch(name, keys.PUBLIC) for name in private)
    assert fnmatch.fnmatch(keys.manifest(ID), keys.PUBLIC)
