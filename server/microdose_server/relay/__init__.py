"""A relay: carries the streams of one server to another site, so that many viewers there cost it one.

    upstream ──manifests, keys──► Kept ─────────┐
             ──events, once a sequence──► Feeds ├──► the API's paths for viewers ──► any number of them
             ──blobs, once each──► Blobs ───────┘

It needs no Redis, and holds a key of the upstream's with the scope `view`.
"""
