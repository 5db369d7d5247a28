"""tritonclient's messages under the module name that they carry: Ray pickles requests, and looks their classes up by it."""

from tritonclient.grpc.service_pb2 import *  # noqa: F403
