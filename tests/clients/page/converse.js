// Converse.js as a site would configure it; the plugin is the one of the README.

// `app` is the same of every client.

const { url, jid, named, password } = Object.fromEntries(new URLSearchParams(window.location.search));

/** What all pages of this tab have noted. */
const notes = () => JSON.parse(sessionStorage.getItem('noted') ?? '[]');

/** Older versions have it elsewhere. */
const connectionOf = (_converse) => _converse.api.connection.get?.() ?? _converse.connection;
const bare = (contact) => contact.split('/')[0];
const app = {
  jid: '', roster: {}, groups: {}, online: [], heard: [], presences: [], here: [],
  get noted() { return notes(); },
  /** What is in the chat with Bob. */
  async shown() {
    const chat = await window.api.chats.get('bob@example.org');
    return chat.messages.map((message) => message.get('body')).filter(Boolean);
  },
  listen(_converse) {
    const connection = connectionOf(_converse);
    app.jid = connection.jid;
    app.version = parseInt(_converse.VERSION_NAME.replace('v', ''), 10);
    app.logout = () => _converse.api.user.logout();
    connection.addHandler((presence) => {
      app.presences.push(`${presence.getAttribute('from')} ${presence.getAttribute('type') ?? 'available'}`);
      return true;
    }, null, 'presence');
  },
  /** Reads what it shows, as it keeps it. */
  async look() {
    const contacts = await window.api.contacts.get() ?? [];
    const all = (value) => Object.fromEntries(contacts.map((contact) => [contact.get('jid'), value(contact)]));
    app.roster = all((contact) => contact.get('nickname'));
    app.groups = all((contact) => contact.get('groups') ?? []);
    app.online = contacts.filter((contact) => contact.presence?.get('show') === 'online').map((contact) => contact.get('jid'));
    for (const contact of Object.keys(app.roster)) {
      const chat = await window.api.chats.get(contact);
      if (chat?.messages) app.heard = chat.messages.map((message) => message.get('body'));
    }
  },
  open: (contact) => window.api.chats.open(bare(contact)),
  async say(to, texts) {
    const chat = await window.api.chats.get(bare(to));
    for (const body of texts) await chat.sendMessage(app.version < 8 ? body : { body });
  },
};
window.app = app;

window.converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    window.api = _converse.api;
    _converse.api.listen.on('connected', () => app.listen(_converse));
    _converse.api.listen.on('message', ({ attrs }) => {
      if (!attrs?.body) return;
      app.here.push(attrs.body);
      sessionStorage.setItem('noted', JSON.stringify([...notes(), attrs.body]));
    });
    _converse.api.listen.on('afterResourceBinding', () => {
      if (!connectionOf(_converse).restored) _converse.session.save('roster_cached', false);
    });
  },
});

window.converse.initialize({
  assets_path: new URL('converse/', window.location.href).pathname,
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
