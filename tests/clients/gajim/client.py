"""A client on nbxmpp, Gajim's library, over WebSocket, or over TCP to `xmpp://HOST:PORT`.

    client.py URL DOMAIN USER PASSWORD

Prints what comes, an array of JSON a line; a line of input is `JID text`, `avatar text`, or `quit`. When it loses its
connection it connects again, as Gajim does.
"""

import json
import sys

from gi.repository import GLib

from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType
from nbxmpp.modules.user_avatar import Avatar
from nbxmpp.namespaces import Namespace
from nbxmpp.protocol import Message, Presence
from nbxmpp.structs import DiscoIdentity, StanzaHandler

RETRY = 300  # ms

url, domain, user, password = sys.argv[1:]
loop = GLib.MainLoop()


def say(what, *about):
    print(json.dumps([what, *about]), flush=True)


def tell(item):
    say("contact", str(item.jid), item.subscription, item.name, sorted(item.groups))


class Chat:
    def __init__(self):
        self.leaves = False
        self.client = Client()
        self.client.set_domain(domain)
        self.client.set_username(user)
        self.client.set_resource("nbxmpp")
        self.client.set_password(password)
        if url.startswith("xmpp://"):
            self.client.set_custom_host(url.removeprefix("xmpp://"), ConnectionProtocol.TCP, ConnectionType.PLAIN)
        else:
            self.client.set_custom_host(url, ConnectionProtocol.WEBSOCKET, ConnectionType.PLAIN)
        features = [Namespace.DISCO_INFO, Namespace.AVATAR_METADATA + "+notify"]
        self.client.get_module("EntityCaps").set_caps(
            [DiscoIdentity(category="client", type="pc", name="test")], features, "https://gajim.org")
        for signal, callback in {
            "connected": self.connected,
            "resume-successful": lambda *_: say("resumed"),
            "resume-failed": lambda *_: say("not resumed"),
            "disconnected": self.ended,
            "connection-failed": self.ended,
        }.items():
            self.client.subscribe(signal, callback)
        for name, callback in {
            "presence": self.presence, "message": self.message, "iq": self.pushed,
        }.items():
            self.client.register_handler(StanzaHandler(name=name, callback=callback, priority=60))
        self.client.connect()

    def connected(self, *_):
        say("jid", str(self.client.get_bound_jid()))
        self.client.get_module("Roster").request_roster(callback=self.roster)

    def roster(self, task):
        for item in task.finish().items:
            tell(item)
        presence = Presence()
        caps = self.client.get_module("EntityCaps").caps
        presence.setTag("c", namespace=Namespace.CAPS, attrs=caps._asdict())
        self.client.send_stanza(presence)

    def ended(self, *_):
        say("disconnected", str(self.client.get_error()[1]))
        if self.leaves:
            loop.quit()
        else:
            GLib.timeout_add(RETRY, lambda: self.client.connect())

    def presence(self, _client, stanza, _properties):
        say("presence", str(stanza.getFrom()), stanza.getType() or "available")

    def message(self, _client, stanza, properties):
        if properties.is_pubsub_event and properties.pubsub_event.node == Namespace.AVATAR_METADATA:
            say("avatar", str(stanza.getFrom()), properties.pubsub_event.id)
        if stanza.getBody():
            say("message", str(stanza.getFrom()), stanza.getBody())

    def pushed(self, _client, _stanza, properties):
        if properties.roster is not None:
            tell(properties.roster.item)

    def obey(self, channel, _condition):
        line = channel.readline().rstrip("\n")
        if line in ("", "quit"):
            self.leaves = True
            self.client.disconnect()
            return False
        to, text = line.split(" ", 1)
        if to == "avatar":
            avatar = Avatar()
            avatar.add_image_source(text.encode(), "image/png", 1, 1)
            self.client.get_module("UserAvatar").set_avatar(avatar)
            return True
        self.client.send_stanza(Message(to, text, typ="chat"))
        say("said", text)
        return True


chat = Chat()
GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, chat.obey)
loop.run()
