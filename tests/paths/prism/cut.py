#!/usr/bin/env python3
"""Cuts GitHub's own OpenAPI description down to the operations that rollbackd asks for: github.json beside this file.

Usage: cut.py api.github.com.json    (of the npm package @octokit/openapi, folder generated/, MIT license)
Never changes what it keeps: parameters, schemas and examples stay as GitHub publishes them.
"""

import json
import sys
from pathlib import Path

REPO = "/repos/{owner}/{repo}"
KEPT = {
    "/app/installations/{installation_id}/access_tokens": ["post"],
    f"{REPO}/actions/workflows/{{workflow_id}}/dispatches": ["post"],
    f"{REPO}/actions/workflows/{{workflow_id}}/runs": ["get"],
    f"{REPO}/actions/runs/{{run_id}}": ["get"],
    f"{REPO}/actions/runs/{{run_id}}/cancel": ["post"],
}


def references(node):
    """The components that a part of the description names."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def cut(whole):
    """The operations of KEPT with all that they refer to, and nothing else."""
    paths = {path: {method: whole["paths"][path][method] for method in methods} for path, methods in KEPT.items()}
    components, waiting = {}, list(references(paths))
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name not in components.setdefault(kind, {}):
            components[kind][name] = whole["components"][kind][name]
            waiting.extend(references(components[kind][name]))
    info = {key: whole["info"][key] for key in ("title", "version", "license")}
    info["description"] = "Cut by tests/paths/prism/cut.py from api.github.com.json of @octokit/openapi 23.0.2."
    return {"openapi": whole["openapi"], "info": info, "paths": paths, "components": components}


whole = json.loads(Path(sys.argv[1]).read_text())
text = json.dumps(cut(whole), indent=1, sort_keys=True, ensure_ascii=False)
Path(__file__).with_name("github.json").write_text(text + "\n")
