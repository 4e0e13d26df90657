"""How huggingface_hub lays out its cache and where it looks for it: `fixtures/hub/cache.json`.

A server on loopback speaks the few endpoints of the hub that `snapshot_download` uses, and serves one tiny repository at
two commits. What lies in the cache afterwards is written down: folders, files with their text, links with their targets.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import FIXTURES

FIRST, SECOND = "1" * 40, "2" * 40
COMMITS = {FIRST: {"config.json": '{"model_type": "gpt2"}', "model.safetensors": "weights"},
           SECOND: {"config.json": '{"model_type": "gpt2", "n_layer": 2}', "model.safetensors": "weights"}}
REFS = {"main": SECOND, "v1.0": FIRST, "refs/pr/1": FIRST, FIRST: FIRST, SECOND: SECOND}
MODELS = ["org/tiny", "tiny"]
ASKED = [("org/tiny", "main"), ("org/tiny", "v1.0"), ("org/tiny", "refs/pr/1"), ("tiny", FIRST)]


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        path = self.path.split("?")[0].replace("%2F", "/")
        for model in sorted(MODELS, key=len, reverse=True):
            api, files = f"/api/models/{model}/revision/", f"/{model}/resolve/"
            if path.startswith(api) and path[len(api):] in REFS:
                sha = REFS[path[len(api):]]
                body = {"id": model, "modelId": model, "sha": sha, "private": False, "tags": [], "downloads": 0,
                        "likes": 0, "siblings": [{"rfilename": name} for name in COMMITS[sha]]}
                return 200, json.dumps(body).encode(), {"Content-Type": "application/json"}
            tree = f"/api/models/{model}/tree/"
            if path.startswith(tree) and path[len(tree):] in REFS:
                entries = [{"type": "file", "path": name, "size": len(text), "oid": hashlib.sha1(text.encode()).hexdigest()}
                           for name, text in COMMITS[REFS[path[len(tree):]]].items()]
                return 200, json.dumps(entries).encode(), {"Content-Type": "application/json"}
            if path.startswith(files):
                revision, _, name = path[len(files):].rpartition("/")
                sha = REFS.get(revision)
                if sha and name in COMMITS[sha]:
                    body = COMMITS[sha][name].encode()
                    etag = hashlib.sha256(body).hexdigest()
                    return 200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": sha}
        return 404, b"", {"X-Error-Code": "EntryNotFound"}

    def do_GET(self, head=False):
        status, body, headers = self.answer()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET(head=True)


def python(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def layout(root):
    """What lies below a folder, lock files left out."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith(".locks") or not name.startswith("models--"):
            continue
        if path.is_symlink():
            found.append({"path": name, "link": os.readlink(path)})
        elif path.is_file():
            found.append({"path": name, "text": path.read_text()})
        else:
            found.append({"path": name})
    return found


def caches():
    """Where the cache is, by the variables that are set."""
    home = "/home/me"
    cases = [
        {}, {"XDG_CACHE_HOME": "/xdg"}, {"HF_HOME": "/hf"}, {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/xdg"},
        {"HF_HUB_CACHE": "/cache", "HF_HOME": "/hf"}, {"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
        {"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"}, {"HF_HUB_CACHE": "~/cache"},
        {"HF_HOME": "$SCRATCH/hf", "SCRATCH": "/scratch"}, {"HF_HUB_CACHE": "${SCRATCH}/hub", "SCRATCH": "/scratch"},
        {"HF_HOME": "$NOT_SET/hf"},
    ]
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    return [{"set": case, "cache": python(code, {"HOME": home, **case})} for case in cases]


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        environment = {"HOME": folder, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
                       "HF_HUB_CACHE": folder, "HF_HUB_DISABLE_TELEMETRY": "1"}
        asked = []
        for model, revision in ASKED:
            code = ("from huggingface_hub import snapshot_download; "
                    f"print(snapshot_download({model!r}, revision={revision!r}, max_workers=1))")
            at = python(code, environment)
            asked.append({"model": model, "revision": revision, "folder": Path(at).relative_to(folder).as_posix()})
        files = layout(Path(folder))
    server.shutdown()
    import huggingface_hub
    out = FIXTURES / "hub"
    out.mkdir(exist_ok=True)
    about = {"huggingface_hub": huggingface_hub.__version__, "asked": asked, "files": files, "caches": caches()}
    (out / "cache.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
