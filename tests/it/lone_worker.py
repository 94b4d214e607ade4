"""A web site with one worker: while it tells the gateway of a change, it cannot answer for the list."""

import http.client
import http.server
import json
import urllib.parse

name = "Nobody"


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        """/contacts/USER is the list; /change?name=..&gateway=..&user=..&prefer=.. changes it and tells."""
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/change":
            self.answer(change(**dict(urllib.parse.parse_qsl(url.query))))
        else:
            self.answer({"marie@example.org": {"name": name}})

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def change(gateway, user, prefer=None, **new):
    global name
    name = new["name"]
    headers = {"Content-Type": "application/json"}
    if prefer:
        headers["Prefer"] = prefer
    connection = http.client.HTTPConnection(gateway, timeout=60)
    connection.request("POST", "/roster_admin/refresh", json.dumps([user]), headers)
    answer = connection.getresponse()
    return {
        "status": answer.status,
        "applied": answer.getheader("Preference-Applied"),
        "said": json.loads(answer.read()),
    }


server = http.server.HTTPServer(("127.0.0.1", 0), Site)
print(server.server_port, flush=True)
server.serve_forever()
