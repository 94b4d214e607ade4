// The chat of somebody who is logged in to the site. The page has no password: /chat-credentials has one for each login.

// Behind the site's web server, or on this machine without one, to try it.
const gateway = location.protocol === 'https:' ? `wss://${location.host}` : `ws://${location.hostname}:5290`;

// By WebSocket alone. If it may come by BOSH as well, Converse needs a plugin to keep its contacts fresh: docs/clients.md.
converse.initialize({
  authentication: 'login',
  auto_login: true,
  credentials_url: '/chat-credentials',
  websocket_url: `${gateway}/xmpp-websocket?page=${Math.random()}`,

  assets_path: '/node_modules/converse.js/dist/',
  autocomplete_providers_url: '',
  blacklisted_plugins: ['converse-omemo'],
  discover_connection_methods: false,
  persistent_store: 'sessionStorage',
  show_self_in_roster: false,
  view_mode: 'fullscreen',
});
