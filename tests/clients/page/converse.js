// Converse.js as a site would configure it; the plugin is the one of the README.

const { url, jid, named, password } = Object.fromEntries(new URLSearchParams(window.location.search));

/** What all pages of this tab have noted. */
const notes = (name) => JSON.parse(sessionStorage.getItem(name) ?? '[]');
const note = (name, text) => sessionStorage.setItem(name, JSON.stringify([...notes(name), text]));
window.app = {
  jid: '', here: [], get heard() { return notes('heard'); },
  /** What is in the chat with Bob. */
  async shown() {
    const chat = await window.api.chats.get('bob@example.org');
    return chat.messages.map((message) => message.get('body')).filter(Boolean);
  },
};

window.converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    window.api = _converse.api;
    _converse.api.listen.on('connected', () => {
      window.app.jid = _converse.api.connection.get().jid;
    });
    _converse.api.listen.on('message', ({ attrs }) => {
      if (!attrs.body) return;
      window.app.here.push(attrs.body);
      note('heard', attrs.body);
    });
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
  // A page that has a name of its own is sent what the one before has not shown to have.
  bosh_service_url: named ? `${url}?page=${crypto.randomUUID()}` : url,
  discover_connection_methods: false,
  jid,
  keepalive: true,
  password,
  persistent_store: 'sessionStorage',
  show_self_in_roster: false,
  view_mode: 'fullscreen',
  whitelisted_plugins: ['fresh-contacts'],
});

// A page that the browser has kept asleep has missed what others did with the session: it begins anew.
window.addEventListener('pageshow', ({ persisted }) => { if (persisted) window.location.reload(); });
