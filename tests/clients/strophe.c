/* A client on libstrophe (the library of Profanity), on a TCP stream: prints what happens, until it
   is ended.

     strophe PORT JID PASSWORD */

#include <strophe.h>

#include <stdio.h>
#include <stdlib.h>

static const char *or(const char *text, const char *other) { return text ? text : other; }

static int presence(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *data) {
  printf("presence %s %s\n", xmpp_stanza_get_from(stanza),
         or(xmpp_stanza_get_type(stanza), "available"));
  return 1;
}

/* The list, and its changes. */
static int list(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *data) {
  xmpp_stanza_t *query = xmpp_stanza_get_child_by_ns(stanza, XMPP_NS_ROSTER);
  if (!query) return 1;
  for (xmpp_stanza_t *item = xmpp_stanza_get_children(query); item;
       item = xmpp_stanza_get_next(item))
    printf("contact %s %s %s\n", xmpp_stanza_get_attribute(item, "jid"),
           xmpp_stanza_get_attribute(item, "subscription"),
           or(xmpp_stanza_get_attribute(item, "name"), ""));
  printf("roster\n");
  return 1;
}

static void connected(xmpp_conn_t *conn, xmpp_conn_event_t event, int error,
                      xmpp_stream_error_t *stream_error, void *data) {
  if (event != XMPP_CONN_CONNECT) {
    printf("disconnected\n");
    xmpp_stop(data);
    return;
  }
  xmpp_handler_add(conn, presence, NULL, "presence", NULL, NULL);
  xmpp_handler_add(conn, list, NULL, "iq", NULL, NULL);
  xmpp_send_raw_string(conn, "<iq type='get' id='list'><query xmlns='%s'/></iq><presence/>",
                       XMPP_NS_ROSTER);
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  setvbuf(stdout, NULL, _IOLBF, 0);
  xmpp_initialize();
  xmpp_ctx_t *context = xmpp_ctx_new(NULL, NULL);
  xmpp_conn_t *conn = xmpp_conn_new(context);
  xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_DISABLE_TLS);
  xmpp_conn_set_jid(conn, argv[2]);
  xmpp_conn_set_pass(conn, argv[3]);
  if (xmpp_connect_client(conn, "127.0.0.1", atoi(argv[1]), connected, context) != XMPP_EOK)
    return 1;
  xmpp_run(context);
  return 0;
}
