// Converse.js as a site would configure it; the plugin is the one of the README.

const { url, jid, password } = Object.fromEntries(new URLSearchParams(window.location.search));

window.converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    window.api = _converse.api;
    _converse.api.listen.on('afterResourceBinding', () => {
      if (!_converse.api.connection.get().restored) _converse.session.save('roster_cached', false);
    });
  },
});

window.converse.initialize({
  assets_path: '/converse/',
  authentication: 'login',
  auto_login: true,
  autocomplete_providers_url: '',
  blacklisted_plugins: ['converse-omemo'],
  bosh_service_url: url,
  discover_connection_methods: false,
  jid,
  keepalive: true,
  password,
  persistent_store: 'sessionStorage',
  show_self_in_roster: false,
  view_mode: 'fullscreen',
  whitelisted_plugins: ['fresh-contacts'],
});
