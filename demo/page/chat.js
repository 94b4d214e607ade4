// One person's Converse.js, as a site would configure it.

// By BOSH, Converse.js does not ask for its contacts again when a session was lost (docs/clients.md): it is made to.
converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    _converse.api.listen.on('afterResourceBinding', () => {
      const connection = _converse.api.connection.get?.() ?? _converse.connection; // 14; 7 and 10
      if (!connection.restored) _converse.session.save('roster_cached', false);
    });
  },
});

// A site gives either URL, or both: then Converse.js comes by WebSocket, and by BOSH where that fails.
const fronts = {
  // Each page, and each reload, has a name of its own: what one has not shown to have, the next is sent, too, and it is
  // shown again who is online.
  bosh: { bosh_service_url: `/http-bind?page=${Math.random()}` },
  websocket: { websocket_url: `ws://${location.host}/xmpp-websocket?page=${Math.random()}` },
};

converse.initialize({
  assets_path: '/converse/',
  ...fronts[new URLSearchParams(location.search).get('front') ?? 'bosh'],
  discover_connection_methods: false,

  // The site knows its visitor by a cookie, and gets a token for each login: no page has a password. On a reload, Converse.js takes up the session that it keeps in
  // sessionStorage: a BOSH session (keepalive) without asking again, one by WebSocket after a login
  // that ends in its resumption.
  authentication: 'login',
  auto_login: true,
  keepalive: true,
  credentials_url: '/credentials',
  // Everything belongs to this tab and goes with it.
  persistent_store: 'sessionStorage',

  // This page is about contacts, nothing else.
  whitelisted_plugins: ['fresh-contacts'],
  blacklisted_plugins: ['converse-omemo'],
  show_self_in_roster: false,
  visible_toolbar_buttons: { emoji: true },
  view_mode: 'fullscreen',
  autocomplete_providers_url: '',
});

// A page that wakes up has missed what others did with the session: it begins anew.
addEventListener('pageshow', ({ persisted }) => { if (persisted) location.reload(); });
