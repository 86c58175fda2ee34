"""The bases that this server encodes for; their blobs are published like any other."""

import logging

from fastapi import APIRouter

from microdose.base import Descriptor, LoadedBase
from microdose.errors import NotFound
from microdose.manifest import BASE_TYPE
from microdose.resources import BaseInfo
from microdose_server.api.auth import READ
from microdose_server.api.services import Here
from microdose_server.codec.folder import load_bases
from microdose_server.store.blobs import BlobStore

router = APIRouter(prefix="/bases", tags=["bases"])
log = logging.getLogger(__name__)


@router.get("", dependencies=[READ])
def listing(here: Here) -> list[BaseInfo]:
    """What a client can fetch ahead, before it knows a sequence."""
    return list(here.bases)


def publish_base(profile: str, base: LoadedBase, blobs: BlobStore) -> BaseInfo:
    """Put a base's document and graphs where viewers find them; returns how it is listed."""
    document = base.document.to_bytes()
    for data in (base.student, base.hyper, document):
        blobs.put(data)
    return BaseInfo(
        profile=profile,
        name=base.document.name,
        base=Descriptor(media_type=BASE_TYPE, digest=base.digest, size=len(document)),
        parameters=base.document.parameters,
        kmac_per_pixel=base.document.kmac_per_pixel,
    )


def shipped_bases(blobs: BlobStore) -> tuple[BaseInfo, ...]:
    """Publish the bases that come with the server; a host of the API alone may do without."""
    try:
        return tuple(publish_base(profile, base, blobs) for profile, base in load_bases().items())
    except (NotFound, FileNotFoundError) as error:
        log.warning("no base on offer: %s", error)
        return ()
