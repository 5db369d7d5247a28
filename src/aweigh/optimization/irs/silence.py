"""OpenVINO and NNCF without their reports of use. Imported before either of them.

Both send what they are used for to a service of the vendor's, through `openvino_telemetry`, and put an identifier into the home folder. A pass has no
network in any case; with the library out of reach neither of them tries.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own way to say that a module cannot be imported
