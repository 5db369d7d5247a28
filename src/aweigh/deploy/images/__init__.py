"""Images made without Docker: from a base, wheels and a package, as OCI documents and layers. Any platform, on any machine, the same digest."""

from aweigh.deploy.images.build import BASE, Image, ImageRequest, PlatformImage, build_image
from aweigh.deploy.images.server import ServerPayload
from aweigh.deploy.images.small import RunnerPayload

__all__ = ["BASE", "Image", "ImageRequest", "PlatformImage", "RunnerPayload", "ServerPayload", "build_image"]
