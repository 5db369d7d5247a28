"""The command line: one file per command, loaded when used. Parses, calls `app`, renders; decides nothing."""
