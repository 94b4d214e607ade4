/* A client on libpurple (the library of Pidgin 2), over BOSH, or over TCP to a port: prints what
   happens, does what its input says.

     libpurple FOLDER BOSH-URL|PORT JID PASSWORD       input: "JID TEXT" sends, "quit" ends

   FOLDER is where it keeps its settings. */

#include <glib.h>
#include <purple.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GMainLoop *loop;
static PurpleAccount *account;

static void say(const char *what, const char *who, const char *text) {
  printf("%s %s %s\n", what, who, text);
  fflush(stdout);
}

/* libpurple leaves timers and sockets to its host; GLib has both. */
struct watch {
  PurpleInputFunction function;
  gpointer data;
};

static gboolean ready(GIOChannel *channel, GIOCondition condition, gpointer data) {
  struct watch *watch = data;
  int what = 0;
  if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR)) what |= PURPLE_INPUT_READ;
  if (condition & (G_IO_OUT | G_IO_HUP | G_IO_ERR)) what |= PURPLE_INPUT_WRITE;
  watch->function(watch->data, g_io_channel_unix_get_fd(channel), what);
  return TRUE;
}

static guint add_input(int fd, PurpleInputCondition condition, PurpleInputFunction function,
                       gpointer data) {
  struct watch *watch = g_new0(struct watch, 1);
  watch->function = function;
  watch->data = data;
  int events = G_IO_HUP | G_IO_ERR;
  if (condition & PURPLE_INPUT_READ) events |= G_IO_IN;
  if (condition & PURPLE_INPUT_WRITE) events |= G_IO_OUT;
  GIOChannel *channel = g_io_channel_unix_new(fd);
  guint id = g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, events, ready, watch, g_free);
  g_io_channel_unref(channel);
  return id;
}

static PurpleEventLoopUiOps event_loop = {
    .timeout_add = g_timeout_add,
    .timeout_remove = g_source_remove,
    .input_add = add_input,
    .input_remove = g_source_remove,
    .timeout_add_seconds = g_timeout_add_seconds,
};

static void signed_on(PurpleConnection *connection, gpointer data) {
  say("signed-on", purple_account_get_username(purple_connection_get_account(connection)), "");
}

static void connection_error(PurpleConnection *connection, PurpleConnectionError error,
                             const char *text, gpointer data) {
  say("error", purple_account_get_username(purple_connection_get_account(connection)), text);
}

static void signed_off(PurpleConnection *connection, gpointer data) {
  say("signed-off", purple_account_get_username(purple_connection_get_account(connection)), "");
  g_main_loop_quit(loop);
}

static void buddy_added(PurpleBuddy *buddy, gpointer data) {
  PurpleGroup *group = purple_buddy_get_group(buddy);
  say("buddy", purple_buddy_get_name(buddy), group ? purple_group_get_name(group) : "");
}

static void buddy_removed(PurpleBuddy *buddy, gpointer data) {
  say("gone", purple_buddy_get_name(buddy), "");
}

static void buddy_on(PurpleBuddy *buddy, gpointer data) {
  say("online", purple_buddy_get_name(buddy), "");
}

static void buddy_off(PurpleBuddy *buddy, gpointer data) {
  say("offline", purple_buddy_get_name(buddy), "");
}

static void icon_changed(PurpleBuddy *buddy, gpointer data) {
  say("icon", purple_buddy_get_name(buddy), purple_buddy_icons_get_checksum_for_user(buddy));
}

static void alias_changed(PurpleBlistNode *node, const char *old, gpointer data) {
  if (!PURPLE_BLIST_NODE_IS_BUDDY(node)) return;
  PurpleBuddy *buddy = (PurpleBuddy *)node;
  say("alias", purple_buddy_get_name(buddy), purple_buddy_get_alias(buddy));
}

static void received(PurpleAccount *to, char *from, char *text, PurpleConversation *conversation,
                     PurpleMessageFlags flags, gpointer data) {
  char *plain = purple_unescape_html(text);
  say("message", from, plain);
  g_free(plain);
}

static gboolean obey(GIOChannel *input, GIOCondition condition, gpointer data) {
  char *line = NULL;
  gsize end = 0;
  if (g_io_channel_read_line(input, &line, NULL, &end, NULL) != G_IO_STATUS_NORMAL) return FALSE;
  line[end] = '\0';
  char *space = strchr(line, ' ');
  if (!space) {
    purple_account_disconnect(account);
  } else {
    *space = '\0';
    char *markup = g_markup_escape_text(space + 1, -1);
    serv_send_im(purple_account_get_connection(account), line, markup, PURPLE_MESSAGE_SEND);
    g_free(markup);
  }
  g_free(line);
  return TRUE;
}

static void listen_to(void *handle, const char *name, PurpleCallback callback) {
  static int self;
  purple_signal_connect(handle, name, &self, callback, NULL);
}

int main(int argc, char **argv) {
  if (argc != 5) return 64;
  loop = g_main_loop_new(NULL, FALSE);
  purple_util_set_user_dir(argv[1]);
  purple_eventloop_set_ui_ops(&event_loop);
  if (!purple_core_init("rostergate-test")) return 2;
  purple_set_blist(purple_blist_new());
  purple_blist_load();

  listen_to(purple_connections_get_handle(), "signed-on", PURPLE_CALLBACK(signed_on));
  listen_to(purple_connections_get_handle(), "signed-off", PURPLE_CALLBACK(signed_off));
  listen_to(purple_connections_get_handle(), "connection-error", PURPLE_CALLBACK(connection_error));
  listen_to(purple_blist_get_handle(), "buddy-added", PURPLE_CALLBACK(buddy_added));
  listen_to(purple_blist_get_handle(), "buddy-removed", PURPLE_CALLBACK(buddy_removed));
  listen_to(purple_blist_get_handle(), "buddy-signed-on", PURPLE_CALLBACK(buddy_on));
  listen_to(purple_blist_get_handle(), "buddy-signed-off", PURPLE_CALLBACK(buddy_off));
  listen_to(purple_blist_get_handle(), "buddy-icon-changed", PURPLE_CALLBACK(icon_changed));
  listen_to(purple_blist_get_handle(), "blist-node-aliased", PURPLE_CALLBACK(alias_changed));
  listen_to(purple_conversations_get_handle(), "received-im-msg", PURPLE_CALLBACK(received));

  account = purple_account_new(argv[3], "prpl-jabber");
  purple_account_set_password(account, argv[4]);
  if (strchr(argv[2], ':')) {
    purple_account_set_string(account, "bosh_url", argv[2]);
  } else {
    purple_account_set_string(account, "connect_server", "127.0.0.1");
    purple_account_set_int(account, "port", atoi(argv[2]));
  }
  purple_account_set_string(account, "connection_security", "opportunistic_tls");
  purple_account_set_bool(account, "auth_plain_in_clear", TRUE);
  purple_accounts_add(account);
  purple_account_set_enabled(account, "rostergate-test", TRUE);
  purple_savedstatus_activate(purple_savedstatus_new(NULL, PURPLE_STATUS_AVAILABLE));

  GIOChannel *input = g_io_channel_unix_new(0);
  g_io_add_watch(input, G_IO_IN | G_IO_HUP, obey, NULL);
  g_main_loop_run(loop);
  return 0;
}
