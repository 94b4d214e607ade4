"""A client on nbxmpp 0.6, Gajim's library until 2020, over BOSH, with its keys.

    client.py URL DOMAIN USER PASSWORD

Prints what comes; a line of input is `JID text`, or `quit`.
"""

import os
import select
import sys

import nbxmpp
from nbxmpp.idlequeue import SelectIdleQueue
from nbxmpp.smacks import Smacks

url, domain, user, password = sys.argv[1:]


def say(*words):
    print(*words, flush=True)


class Client:
    """What the library calls its caller."""

    client_cert = None

    def __init__(self):
        self.over = False
        self.sm = Smacks(self)
        self.queue = SelectIdleQueue()
        self.connection = nbxmpp.NonBlockingClient(domain, self.queue, caller=self)
        self.connection.RegisterDisconnectHandler(self.ended)
        self.connection.connect(
            self.connected, self.failed, hostname=domain, on_proxy_failure=self.failed,
            secure_tuple=("plain", None, None, None, None, False),
            proxy={
                "type": "bosh", "bosh_uri": url, "bosh_useproxy": False, "useauth": False,
                "bosh_content": "text/xml; charset=utf-8", "bosh_wait": 30, "bosh_hold": 2,
                "bosh_http_pipelining": False, "bosh_wait_for_restart_response": True,
            })

    def run(self):
        while not self.over:
            self.queue.process()
            if select.select([sys.stdin], [], [], 0.02)[0]:
                lines = os.read(sys.stdin.fileno(), 1 << 16).decode().splitlines()
                for line in lines or ["quit"]:
                    self.obey(line)

    def obey(self, line):
        if line == "quit":
            self.connection.send(nbxmpp.Presence(typ="unavailable"))
            self.connection.start_disconnect()
        else:
            to, text = line.split(" ", 1)
            self.connection.send(nbxmpp.Message(to, text, typ="chat"))

    def failed(self, *_, **why):
        say("failed", why)
        sys.exit(1)

    def ended(self):
        self.over = True

    def connected(self, *_):
        self.connection.auth(user, password, "nbxmpp", on_auth=self.authenticated)

    def get_password(self, callback, _mechanism):
        callback(password)

    def authenticated(self, connection, how):
        if not how:
            self.failed(how=how)
        say("jid", connection._registered_name)
        connection.RegisterHandler("presence", self.presence)
        connection.RegisterHandler("message", self.message)
        connection.RegisterHandler("iq", self.pushed, "set", nbxmpp.NS_ROSTER)
        get = nbxmpp.Iq("get", nbxmpp.NS_ROSTER)
        connection.SendAndCallForResponse(get, self.roster)

    def roster(self, iq):
        items = iq.getQueryChildren() or []
        for item in items:
            self.item("contact", item)
        say("roster", len(items))
        self.connection.send(nbxmpp.Presence())

    def pushed(self, connection, iq):
        for item in iq.getQueryChildren():
            self.item("push", item)
        connection.send(iq.buildReply("result"))
        raise nbxmpp.NodeProcessed

    def item(self, what, item):
        groups = [group.getData() for group in item.getTags("group")]
        say(what, item.getAttr("jid"), item.getAttr("name") or "", "/", *groups)

    def presence(self, _connection, presence):
        say("presence", presence.getFrom(), presence.getType() or "available")

    def message(self, _connection, message):
        if message.getBody():
            say("message", message.getFrom(), message.getBody())

    def _event_dispatcher(self, *_):
        pass


Client().run()
