"""Texts that options of targets take, each with an example that a wrong one is answered with."""

from typing import Annotated

from msgspec import Meta

Published = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}:[0-9]{1,5}$", examples=["127.0.0.1:8080"])]
"""Address and port."""
AbsolutePath = Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._/-]{1,400}$", examples=["/srv/aweigh"])]
AnyPath = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._/-]{1,400})?$", examples=["/srv/aweigh"])]
"""Absolute, or none."""
KeysPath = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._/ -]{1,400})?$", examples=["/etc/aweigh/keys"])]
Namespace = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", examples=["models"])]
Namespaces = Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9-]{0,62}(,[a-z0-9][a-z0-9-]{0,62})*)?$", examples=["ingress-nginx,apps"])]
Secret = Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$", examples=["aweigh-keys"])]
Context = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.:@/-]{0,252})?$", examples=["production"])]
"""Of kubectl's configuration."""
