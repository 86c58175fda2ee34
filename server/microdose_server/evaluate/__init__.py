"""Judging pictures and bytes: metrics, other codecs at equal bytes, contact sheets."""
