// One person's Converse.js, as a site would configure it.

// Converse.js keeps the contacts of a tab, and in a new session trusts what it kept instead of asking
// for them. Having asked for nothing, it is told of no changes either (RFC 6121, 2.1.6). So it is made
// to ask whenever a session is new: after a long sleep, or a restart of the gateway.
converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    _converse.api.listen.on('afterResourceBinding', () => {
      if (!_converse.api.connection.get().restored) _converse.session.save('roster_cached', false);
    });
  },
});

converse.initialize({
  assets_path: '/converse/',
  // Browsers keep pages that are left, asleep. What this one has not shown to have, the next one is sent, too.
  bosh_service_url: `/http-bind?page=${Math.random()}`,
  discover_connection_methods: false,

  // The site says who its visitor is. On a reload, Converse.js first takes up the BOSH session
  // that it keeps in sessionStorage (keepalive); only if that has ended does it ask again.
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
