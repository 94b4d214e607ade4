// Converse.js as a site would configure it. With `keeps` it lacks the plugin of docs/clients.md.

// `app` is the same of every client.

const { url, other, fallback, jid, keeps, named, password, credentials, prebind } = Object.fromEntries(new URLSearchParams(window.location.search));

/** What all pages of this tab have noted. */
const notes = () => JSON.parse(sessionStorage.getItem('noted') ?? '[]');

/** Older versions have it elsewhere. */
const connectionOf = (_converse) => _converse.api.connection.get?.() ?? _converse.connection;
const bare = (contact) => contact.split('/')[0];
let connection;
const app = {
  jid: '', roster: {}, groups: {}, online: [], heard: [], presences: [], here: [],
  get noted() { return notes(); },
  /** Whether a request is open that the gateway answers when there is something to tell. */
  get asks() { return connection?._proto._requests?.some((request) => request.sends && !request.dead) ?? true; },
  /** What is in the chat with Bob. */
  async shown() {
    const chat = await window.api.chats.get('bob@example.org');
    return chat.messages.map((message) => message.get('body')).filter(Boolean);
  },
  listen(_converse) {
    connection = connectionOf(_converse);
    app.jid = connection.jid;
    app.front = _converse.api.connection.isType('websocket') ? 'websocket' : 'bosh';
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
    const status = ({ presence }) => presence?.getStatus?.() ?? presence?.get('show');
    app.online = contacts.filter((contact) => status(contact) === 'online').map((contact) => contact.get('jid'));
    for (const contact of Object.keys(app.roster)) {
      const chat = await window.api.chats.get(contact);
      if (chat?.messages) app.heard = chat.messages.map((message) => message.get('body'));
    }
  },
  open: (contact) => window.api.chats.open(bare(contact)),
  /** Done when Strophe has written it: Converse does not send again what still waits there when a session ends. */
  async say(to, texts) {
    const chat = await window.api.chats.get(bare(to));
    for (const body of texts) await chat.sendMessage(app.version < 8 ? body : { body });
    while (connection._data.length) await new Promise((done) => { setTimeout(done, 10); });
  },
};
window.app = app;

/** The address of a front, or those of both. */
function fronts() {
  const at = (scheme) => [url, other].find((address) => address?.startsWith(scheme));
  const bosh = at('http');
  const websocket = at('ws');
  // A page that has a name of its own is sent what the one before has not shown to have, and is known to be another one.
  const page = named ? `?page=${crypto.randomUUID()}` : '';
  return { bosh_service_url: bosh && bosh + page, websocket_url: websocket && websocket + page };
}

window.converse.plugins.add('watching', {
  initialize() {
    const { _converse } = this;
    window.api = _converse.api;
    for (const event of ['connected', 'reconnected']) _converse.api.listen.on(event, () => app.listen(_converse));
    _converse.api.listen.on('message', ({ attrs }) => {
      if (!attrs?.body) return;
      app.here.push(attrs.body);
      sessionStorage.setItem('noted', JSON.stringify([...notes(), attrs.body]));
    });
  },
});

const { converse } = window;
converse.plugins.add('fresh-contacts', {
  initialize() {
    const { _converse } = this;
    _converse.api.listen.on('afterResourceBinding', () => {
      const connection = _converse.api.connection.get?.() ?? _converse.connection; // 14; 7 and 10
      if (!connection.restored) _converse.session.save('roster_cached', false);
    });
  },
});

const settings = {
  assets_path: new URL('converse/', window.location.href).pathname,
  authentication: prebind ? 'prebind' : 'login',
  auto_login: true,
  autocomplete_providers_url: '',
  // Only one of these, if any.
  credentials_url: credentials,
  prebind_url: prebind,
  blacklisted_plugins: ['converse-omemo'],
  ...fronts(),
  discover_connection_methods: false,
  jid,
  keepalive: true,
  password,
  persistent_store: 'sessionStorage',
  show_self_in_roster: false,
  view_mode: 'fullscreen',
  whitelisted_plugins: keeps ? ['watching'] : ['watching', 'fresh-contacts'],
};
converse.initialize(fallback ? await (await import('./fallback.js')).withFallback(settings) : settings);

// A page that the browser has kept asleep has missed what others did with the session: it begins anew.
window.addEventListener('pageshow', ({ persisted }) => { if (persisted) window.location.reload(); });
