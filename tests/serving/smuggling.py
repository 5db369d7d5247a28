"""What could be read as two requests, or as none: heads and chunked bodies of HTTP/1.1 that are refused, each by its name.

Shared by the tests of the parser and those of a real server (A17).
"""

LINE = "POST /v2/models/iris/infer HTTP/1.1"

SMUGGLING = {
    "length and coding": "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "coding and length": "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "two lengths": "Host: a\r\nContent-Length: 5\r\nContent-Length: 5",
    "two different lengths": "Host: a\r\nContent-Length: 5\r\nContent-Length: 6",
    "list of lengths": "Host: a\r\nContent-Length: 5, 5",
    "xchunked": "Host: a\r\nTransfer-Encoding: xchunked",
    "chunked twice": "Host: a\r\nTransfer-Encoding: chunked, chunked",
    "two codings": "Host: a\r\nTransfer-Encoding: gzip, chunked",
    "chunked not last": "Host: a\r\nTransfer-Encoding: chunked, identity",
    "coding in two lines": "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "coding with vertical tab": "Host: a\r\nTransfer-Encoding: \x0bchunked",
    "space before colon": "Host: a\r\nContent-Length : 5",
    "coding, space before colon": "Host: a\r\nTransfer-Encoding : chunked",
    "plus sign": "Host: a\r\nContent-Length: +5",
    "minus sign": "Host: a\r\nContent-Length: -5",
    "hexadecimal": "Host: a\r\nContent-Length: 0x5",
    "underscore": "Host: a\r\nContent-Length: 1_0",
    "decimal point": "Host: a\r\nContent-Length: 5.0",
    "empty length": "Host: a\r\nContent-Length: ",
    "superscript digit": "Host: a\r\nContent-Length: \xb2",
    "huge length": "Host: a\r\nContent-Length: " + "9" * 40,
    "bare line feed": "Host: a\nContent-Length: 5",
    "bare carriage return": "Host: a\rX: b",
    "NUL": "Host: a\r\nX: a\0b",
    "folded line": "Host: a\r\nX: a\r\n b",
    "folded line, tab": "Host: a\r\nX: a\r\n\tb",
    "no host": "Content-Length: 5",
    "two hosts": "Host: a\r\nHost: b",
    "no colon": "Host: a\r\nnonsense",
    "name with space": "Host: a\r\nX Y: b",
    "empty name": "Host: a\r\n: b",
}
"""Header lines, joined by CR LF."""

NO_REQUESTS = {
    "no version": b"GET /v2\r\n\r\n",
    "version 0.9": b"GET /v2 HTTP/0.9\r\n\r\n",
    "version 2.0 in an HTTP/1 head": b"GET /v2 HTTP/2.0\r\nHost: a\r\n\r\n",
    "version 1.2": b"GET /v2 HTTP/1.2\r\nHost: a\r\n\r\n",
    "unknown method": b"BREW /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"get /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "relative target": b"GET v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target that is a star": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "target not ASCII": b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "space before the method": b" GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /v2 HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n",
    "an empty head": b"\r\n\r\n",
}
"""Whole heads."""

CHUNKS = {
    "extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "extension without a value": b"5;\r\nhello\r\n0\r\n\r\n",
    "extension in quotes that hold a line end": b'5;a="\r\n0\r\n\r\nGET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"\r\nhello\r\n0\r\n\r\n',
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus sign": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "digits that are not ASCII": "\uff15\r\nhello\r\n0\r\n\r\n".encode(),
    "superscript digit": b"\xb2\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "size past 2^32": b"100000005\r\nhello\r\n0\r\n\r\n",
    "size past 2^64": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare line feed after the chunk": b"5\r\nhello\n0\r\n\r\n",
    "bare line feed at the end": b"5\r\nhello\r\n0\r\n\n",
    "bare carriage return after the size": b"5\rhello\r\n0\r\n\r\n",
    "longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "trailers": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "NUL in the size": b"5\0\r\nhello\r\n0\r\n\r\n",
}
"""Chunked bodies of which another reader could understand something else."""
