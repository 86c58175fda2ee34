"""Words that have harmed readers of HTTP before, here or elsewhere."""

METHODS = (
    b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"TRACE", b"CONNECT", b"get", b"PRI", b"\0", b"",
)  # fmt: skip
"""In place of a method."""

SEGMENTS = (
    b"..", b"%2e%2e%2f", b"%00", b"%", b"%zz", b"%c0%af", b"\xff\xfe", b"a" * 5000, b"-1", b"0",
    b"99999999999999999999", b"1e309", b"nan", b"sha256:" + b"0" * 64, b"sha256:" + b"F" * 63,
    b"01jd3q8v6m4x2z7k9w5t0r1yhc", b":upload", b"//", b"?", b"#", b"*", b"http://elsewhere/", b"' OR 1=1",
    b"${7*7}", b"\t",
)  # fmt: skip
"""In place of a piece of a target."""

HEADERS = (
    b"Range: bytes=-1", b"Range: bytes=0-", b"Range: bytes=" + b"0-0," * 1000 + b"1-1",
    b"Range: bytes=99999999999999999999-", b"Range: bytes=5-1", b"Range: bytes=", b"Range: lines=0-1",
    b"Range: bytes=-0", b"If-Range: \"", b"If-None-Match: *", b"If-None-Match: W/\"",
    b"If-Match: " + b"\"a\"," * 500, b"Content-Length: -1", b"Content-Length: 0", b"Content-Length: 5, 6",
    b"Content-Length: 99999999999999999999", b"Content-Length: 1_0", b"Content-Length: +7",
    b"Content-Length: \xd9\xa3", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: identity", b"Expect: 100-continue",
    b"Expect: 200-ok", b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: websocket",
    b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=",
    b"Content-Type: \xff", b"Content-Type: multipart/form-data; boundary=" + b"b" * 4000,
    b"Content-Type: text/html; charset=utf-7", b"Content-Encoding: gzip", b"Accept: \0",
    b"Accept-Encoding: br;q=-1", b"Authorization: Bearer", b"Authorization: Bearer md_\xff_",
    b"Authorization: Basic !!!", b"Last-Event-ID: 99999999999999999999-0", b"Last-Event-ID: \xe2\x88\x9e",
    b"Last-Event-ID: -", b"Repr-Digest: sha-256=:AAAA:", b"Repr-Digest: sha-256=",
    b"X-Microdose-Name: %ff%00%0d%0a", b"X-Microdose-Name: " + b"%41" * 2000, b"X-Request-Id: \x7f",
    b"X-Request-Id: " + b"i" * 4000, b"Cookie: " + b"c=" * 3000, b"Host: ", b"Host: a, b", b"Host: [::1",
    b" folded: yes", b"No-Colon", b": nothing", b"Na me: x", b"X: a\nY: b", b"X-Forwarded-For: \xff",
)  # fmt: skip
"""Lines among the headers."""

CHUNKS = (
    b"0", b"-1", b"fffffffffffffffff", b"0x5", b"5;" + b"e=" * 300, b"", b" 5", b"5 ", b"g",
    b"00000000000000000005",
)  # fmt: skip
"""In place of the length of a chunk."""
