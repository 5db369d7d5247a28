"""ONNX graphs in the hands of passes: read, rewritten, calibrated, asked. Imported by `make` of a pass alone, because onnx may be missing elsewhere."""
