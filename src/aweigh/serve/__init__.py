"""The server: wire, guard, dispatcher and dialects over the engine's data plane. `HttpServer` listens; `asgi` mounts elsewhere."""
