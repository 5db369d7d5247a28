"""One file per wire API. A dialect translates between bytes and the data plane; dialects do not know each other."""
