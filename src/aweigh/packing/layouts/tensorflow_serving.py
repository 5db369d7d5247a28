"""TensorFlow Serving's base path: numbered folders of SavedModels, the highest number of which is served."""

from pathlib import Path

from aweigh.packing.layouts.inside import Inside, has, newest


def open_tensorflow_serving(root: Path) -> Inside | None:
    """The newest SavedModel below the folder, or None."""
    version = newest(root)
    if version is None or not has(version, "saved_model.pb"):
        return None
    return Inside(layout=f"TensorFlow Serving base path, version {version.name}", file=version)
