"""The small start path: one package, one process, the runtime's own shared library through its C API. For cold starts and small devices.

Copied as files into bundles, images and archives by `deploy`, where it stands alone: it imports the standard library and itself, by relative names.
Every module that is imported delays the first answer, so there is no typing, enum, dataclasses, re, socket or json here: their C halves do.
"""
