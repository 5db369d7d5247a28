"""One file per protocol; loaded by name through the plug-in table (kind `client-transport`)."""
