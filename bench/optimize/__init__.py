"""`aweigh optimize` held to what it must show, beside the tools that do a part of it each."""
