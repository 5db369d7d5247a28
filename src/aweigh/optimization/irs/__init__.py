"""OpenVINO models in the hands of passes: read, asked, quantised, written. Imported by `make` of a pass alone, because openvino may be missing elsewhere."""
