"""The wire: HTTP/1.1 and HTTP/2 on one port, from bytes to requests and from replies to bytes. Knows no dialect."""
