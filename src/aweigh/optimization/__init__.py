"""Making packages faster: what takes their time (`profile`)."""
