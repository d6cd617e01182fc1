"""A Hugging Face Hub of this process: repositories in memory, behind the addresses of the real one.

Parquet goes the way of large files (LFS: batch, PUT, a pointer in the commit), the rest stands in
the commit, as with the real one.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

_COMMIT = "0" * 40


class FakeHub:
    """Files by repository and name; the commits as their summaries; what was asked."""

    def __init__(self):
        self.files: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.asked: list[str] = []
        self.is_open = True


@contextmanager
def fake_hub():
    """Yield a Hub and its address."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _folders(path):
    """All folders that a file lies in."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _described(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


def _folder(path):
    return {"type": "directory", "path": path, "oid": "0" * 40}


def _mode(path):
    mode = "lfs" if path.endswith(".parquet") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer(head_only=False)

        def do_HEAD(self):
            self._answer(head_only=True)

        def do_POST(self):
            size = int(self.headers.get("Content-Length") or 0)
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while (length := int(self.rfile.readline(), 16)) > 0:
                    body += self.rfile.read(length)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(size)
            path = urlsplit(self.path).path
            hub.asked.append(f"POST {path}")
            if not hub.is_open:
                self._json({"error": "Invalid username or password."}, 401)
            elif path == "/api/repos/create":
                asked = json.loads(body)
                owner = asked.get("organization") or "me"
                hub.files.setdefault(f"{owner}/{asked['name']}", {})
                self._json(
                    {"url": f"http://{self.headers['Host']}/datasets/{owner}/{asked['name']}"}
                )
            elif "/preupload/" in path:
                files = json.loads(body)["files"]
                self._json({"files": [_mode(f["path"]) for f in files]})
            elif "/paths-info/" in path:
                self._paths_info(path, body)
            elif path.endswith("/objects/batch"):
                self._batch(json.loads(body))
            elif "/commit/" in path:
                self._commit(path, body)
            else:
                self._json({})

        def do_PUT(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            hub.blobs[self.path.rpartition("/")[2]] = data
            self._json({})

        def _paths_info(self, path, body):
            files = hub.files["/".join(path.split("/")[3:5])]
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body)[b"paths"]
            names = [w if isinstance(w, str) else w.decode() for w in wanted]
            folders = {f for name in files for f in _folders(name)}
            found = [_described(n, files[n]) for n in names if n in files]
            self._json([*found, *map(_folder, sorted(folders & set(names)))])

        def _batch(self, asked):
            where = f"http://{self.headers['Host']}/blobs"
            objects = [
                {**o, "actions": {"upload": {"href": f"{where}/{o['oid']}"}}}
                for o in asked["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})

        def _commit(self, path, body):
            name = "/".join(path.split("/")[3:5])
            files = hub.files[name]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    hub.commits.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                elif line["key"] == "deletedFile":
                    files.pop(value["path"], None)
            where = f"http://{self.headers['Host']}/datasets/{name}/commit/{_COMMIT}"
            self._json({"commitUrl": where, "commitOid": _COMMIT})

        def _answer(self, *, head_only):
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"GET {path}")
            parts = path.strip("/").split("/")
            if path.startswith("/api/whoami"):
                self._json({"name": "me", "type": "user", "auth": {}})
            elif parts[0] == "api" and "/".join(parts[2:4]) in hub.files:
                self._about("/".join(parts[2:4]), parts[4:])
            elif parts[0] == "datasets" and "/".join(parts[1:3]) in hub.files:
                name = "/".join(parts[5:])
                data = hub.files["/".join(parts[1:3])].get(name)
                if data is None:
                    self._missing("EntryNotFound")
                elif asked := self.headers.get("Range"):
                    first, last = asked.removeprefix("bytes=").split("-")
                    part = data[int(first) : int(last) + 1 if last else None]
                    where = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
                    self._send(part, "application/octet-stream", 206, {"Content-Range": where})
                else:
                    self._send(data, "application/octet-stream", head_only=head_only)
            else:
                self._missing("RepoNotFound")

        def _about(self, name, rest):
            files = hub.files[name]
            if rest[:1] == ["tree"]:
                is_recursive = "recursive=true" in urlsplit(self.path).query.lower()
                self._tree(files, "/".join(rest[2:]), is_recursive=is_recursive)
                return
            siblings = [{"rfilename": p} for p in files]
            self._json(
                {"id": name, "sha": _COMMIT, "siblings": siblings, "private": False, "tags": []}
            )

        def _tree(self, files, folder, *, is_recursive):
            inside = {p: d for p, d in files.items() if p.startswith(folder and f"{folder}/")}
            if folder and not inside:
                self._missing("EntryNotFound")
                return
            folders = {f for p in inside for f in _folders(p) if len(f) > len(folder)}
            if not is_recursive:
                inside = {p: d for p, d in inside.items() if p.rpartition("/")[0] == folder}
                folders = {f for f in folders if f.rpartition("/")[0] == folder}
            self._json(
                [*(_described(p, d) for p, d in inside.items()), *map(_folder, sorted(folders))]
            )

        def _missing(self, code):
            self._send(b"{}", "application/json", 404, {"X-Error-Code": code})

        def _json(self, value, status=200):
            self._send(json.dumps(value).encode(), "application/json", status)

        def _send(self, data, kind, status=200, headers=None, *, head_only=False):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", _COMMIT)
            self.send_header("ETag", f'"{hash(data) & 0xFFFFFFFF:08x}"')
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            if not head_only and self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    return Handler
