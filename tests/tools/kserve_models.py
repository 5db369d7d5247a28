"""Read by the interpreter of the toolbox `kserve_models`: which fields of rendered objects KServe's typed models, and its CRDs where given, do not know.

Called with the files, then `--crds FOLDER`; prints one line for each wrong field.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
import kserve.models
import kubernetes.client.models
import yaml
from kubernetes.client import ApiClient

MODELS = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}


def lost(given: Any, read: Any, place: str) -> Iterator[str]:
    """What the models did not take over, or took over otherwise."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key not in read:
                yield f"{place}.{key}: no such field"
            else:
                yield from lost(value, read[key], f"{place}.{key}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for at, pair in enumerate(zip(given, read, strict=True)):
            yield from lost(*pair, f"{place}[{at}]")
    elif given != read:
        yield f"{place}: {given!r} is read as {read!r}"


def by_models(document: dict[str, Any]) -> Iterator[str]:
    for name in vars(kserve.models):  # where the reader of the Kubernetes client looks for the types of fields
        if name.startswith("V1") and not hasattr(kubernetes.client.models, name):
            setattr(kubernetes.client.models, name, getattr(kserve.models, name))
    client = ApiClient()
    try:
        read = client._ApiClient__deserialize(document, getattr(kserve.models, MODELS[document["kind"]]))
    except (ValueError, TypeError) as error:
        yield f"{document['kind']}: {error}"
        return
    yield from lost(document, client.sanitize_for_serialization(read), document["kind"])


def by_crd(document: dict[str, Any], folder: pathlib.Path) -> Iterator[str]:
    crds = [yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader) for path in sorted(folder.glob("*.yaml"))]
    found = [crd for crd in crds if crd["spec"]["names"]["kind"] == document["kind"]]
    version = document["apiVersion"].rpartition("/")[2]
    for crd in found[:1]:
        schema = next(each["schema"]["openAPIV3Schema"] for each in crd["spec"]["versions"] if each["name"] == version)
        for wrong in jsonschema.Draft7Validator(strict(schema)).iter_errors(document):
            yield f"{wrong.json_path}: {wrong.message}"
    if not found:
        yield f"there is no CRD of {document['kind']} in {folder}"


def strict(schema: Any) -> Any:
    """As the API server's strict field validation takes it: no field that the schema does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {}
    for key, value in schema.items():
        made[key] = {name: strict(each) for name, each in value.items()} if key == "properties" else strict(value)
    if "properties" in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--crds", type=pathlib.Path)
    given = parser.parse_args()
    told = []
    for file in given.files:
        document = yaml.safe_load(file.read_bytes())
        told += [f"{file.name}: {line}" for line in by_models(document)]
        if given.crds:
            told += [f"{file.name}: {line}" for line in by_crd(document, given.crds)]
    json.dump(told, sys.stdout)
