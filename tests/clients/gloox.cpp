// A client on gloox, over BOSH: prints what happens, does what its input says.
//
//   gloox HOST PORT DOMAIN USER PASSWORD       input: "JID TEXT" sends, "quit" ends

#include <gloox/client.h>
#include <gloox/connectionbosh.h>
#include <gloox/connectionlistener.h>
#include <gloox/connectiontcpclient.h>
#include <gloox/message.h>
#include <gloox/messagehandler.h>
#include <gloox/rostermanager.h>
#include <gloox/rosterlistener.h>

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

using namespace gloox;

static void say(const std::string& text) {
  std::cout << text << std::endl;
}

class Person : public ConnectionListener, MessageHandler, RosterListener {
 public:
  Person(const std::string& host, int port, const JID& jid, const std::string& password)
      : client_(jid, password) {
    client_.registerConnectionListener(this);
    client_.registerMessageHandler(this);
    client_.rosterManager()->registerRosterListener(this, true);
    client_.setTls(TLSDisabled);
    client_.setCompression(false);
    ConnectionTCPClient* tcp = new ConnectionTCPClient(client_.logInstance(), host, port);
    ConnectionBOSH* bosh =
        new ConnectionBOSH(&client_, tcp, client_.logInstance(), host, jid.server(), port);
    bosh->setMode(ConnectionBOSH::ModePersistentHTTP);
    client_.setConnectionImpl(bosh);
  }

  int run() {
    if (!client_.connect(false)) return 2;
    while (!over_) {
      const ConnectionError e = client_.recv(50000);
      // Over BOSH gloox says "not connected" while it opens the connection of its next request;
      // the end of the session is told by onDisconnect.
      if (e == ConnNotConnected) usleep(10000);
      if (e != ConnNoError && e != ConnNotConnected && !over_) {
        say("receive error " + std::to_string(e));
        return 3;
      }
      obey();
    }
    return failed_ ? 1 : 0;
  }

  void onConnect() override { say("connected"); }
  void onDisconnect(ConnectionError e) override {
    failed_ = e != ConnUserDisconnected;
    over_ = true;
    say("disconnected " + std::to_string(e));
  }
  bool onTLSConnect(const CertInfo&) override { return false; }
  void handleMessage(const Message& m, MessageSession*) override {
    if (!m.body().empty()) say("message " + m.from().bare() + " " + m.body());
  }

  void handleItemAdded(const JID& jid) override { say("added " + jid.bare()); }
  void handleItemSubscribed(const JID&) override {}
  void handleItemRemoved(const JID& jid) override { say("removed " + jid.bare()); }
  void handleItemUpdated(const JID& jid) override { say("updated " + jid.bare()); }
  void handleItemUnsubscribed(const JID&) override {}
  void handleRoster(const Roster& roster) override {
    for (const auto& entry : roster) {
      const StringList groups = entry.second->groups();
      say("contact " + entry.first + " " + entry.second->name() + " / " +
          (groups.empty() ? "" : groups.front()));
    }
    say("roster " + std::to_string(roster.size()));
  }
  void handleRosterPresence(const RosterItem& item, const std::string&, Presence::PresenceType,
                            const std::string&) override {
    say("presence " + item.jidJID().bare());
  }
  void handleSelfPresence(const RosterItem&, const std::string&, Presence::PresenceType,
                          const std::string&) override {}
  bool handleSubscriptionRequest(const JID&, const std::string&) override { return false; }
  bool handleUnsubscriptionRequest(const JID&, const std::string&) override { return false; }
  void handleNonrosterPresence(const Presence&) override {}
  void handleRosterError(const IQ&) override { say("roster error"); }

 private:
  void obey() {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    while (poll(&input, 1, 0) > 0) {
      char byte;
      if (read(STDIN_FILENO, &byte, 1) != 1) return client_.disconnect();
      if (byte != '\n') {
        line_ += byte;
        continue;
      }
      if (line_ == "quit") {
        client_.disconnect();
      } else {
        const std::string::size_type space = line_.find(' ');
        client_.send(Message(Message::Chat, JID(line_.substr(0, space)), line_.substr(space + 1)));
      }
      line_.clear();
    }
  }

  Client client_;
  std::string line_;
  bool over_ = false;
  bool failed_ = false;
};

int main(int argc, char** argv) {
  if (argc != 6) return 64;
  JID jid(std::string(argv[4]) + "@" + argv[3] + "/gloox");
  return Person(argv[1], std::atoi(argv[2]), jid, argv[5]).run();
}
