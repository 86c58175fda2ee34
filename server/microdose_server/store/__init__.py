"""Where things are kept: blobs on disk (the truth), Redis as bus, index and hot copy."""
