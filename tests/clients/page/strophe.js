// A chat on plain Strophe, as its documentation has it: one session for a tab, kept over reloads.

const { Strophe, $iq, $msg, $pres } = window;
const { url, jid, named, password, prebind, skips, talks, wakes } = Object.fromEntries(new URLSearchParams(window.location.search));
const RETRY = 300; // ms, after a session or an attempt has ended

// A page that has a name of its own is sent what the one before has not shown to have.
const service = named ? `${url}?page=${crypto.randomUUID()}` : url;
const connection = new Strophe.Connection(service, { keepalive: true, enableStreamManagement: true });
/** What all pages of this tab have noted. */
const notes = (name) => JSON.parse(sessionStorage.getItem(name) ?? '[]');
const note = (name, text) => sessionStorage.setItem(name, JSON.stringify([...notes(name), text]));
const app = {
  jid: '', states: [], roster: {}, groups: {}, online: [], sessions: 0, resumed: 0, here: [],
  /** What has been heard of who is there, in order. */
  presences: [],
  get heard() { return notes('heard'); },
  get noted() { return notes('heard'); },
  /** Whether a request is open that the gateway answers when there is something to tell. */
  get asks() { return connection._proto._requests?.some((request) => request.sends && !request.dead) ?? true; },
  get said() { return notes('said'); },
  say(to, texts) {
    for (const text of texts) connection.send($msg({ to, type: 'chat' }).c('body').t(text));
  },
  logout() {
    app.leaves = true;
    connection.disconnect();
  },
};
window.app = app;

function listen() {
  app.jid = connection.jid;
  connection.addHandler((message) => {
    const body = message.querySelector('body');
    if (body) {
      app.here.push(body.textContent);
      note('heard', body.textContent);
    }
    return true;
  }, null, 'message');
  connection.addHandler((presence) => {
    const from = presence.getAttribute('from');
    app.online = app.online.filter((other) => other !== from);
    if (presence.getAttribute('type') !== 'unavailable') app.online.push(from);
    app.presences.push(`${from} ${presence.getAttribute('type') ?? 'available'}`);
    return true;
  }, null, 'presence');
  connection.addHandler((iq) => {
    take(iq);
    connection.send($iq({ type: 'result', id: iq.getAttribute('id') }));
    return true;
  }, 'jabber:iq:roster', 'iq', 'set');
}

function take(iq) {
  for (const item of iq.querySelectorAll('item')) {
    const contact = item.getAttribute('jid');
    if (item.getAttribute('subscription') === 'remove') delete app.roster[contact];
    else app.roster[contact] = item.getAttribute('name');
    app.groups[contact] = [...item.querySelectorAll('group')].map((group) => group.textContent);
  }
}

function greet() {
  connection.sendIQ($iq({ type: 'get' }).c('query', { xmlns: 'jabber:iq:roster' }), take);
  connection.send($pres());
}

/** Goes on with a session that the site has had begun; some pages count its rid up first, by `skips`. */
async function attach() {
  const begun = await (await fetch(prebind)).json();
  app.isNew = true;
  connection.attach(begun.jid, begun.sid, begun.rid + Number(skips ?? 0), follow);
}

function follow(status, condition) {
  const state = Object.keys(Strophe.Status).find((name) => Strophe.Status[name] === status);
  app.states.push(condition ? `${state} ${condition}` : state);
  if (status === Strophe.Status.CONNECTED && connection.hasResumed?.()) {
    app.resumed += 1;
    listen();
  } else if (status === Strophe.Status.CONNECTED) {
    app.sessions += 1;
    listen();
    greet();
  } else if (status === Strophe.Status.ATTACHED) {
    listen();
    if (app.isNew) greet();
  } else if (status === Strophe.Status.DISCONNECTED && !app.leaves) {
    setTimeout(() => {
      connection.reset();
      connection.connect(jid, password, follow);
    }, RETRY);
  }
}

try {
  connection.restore(jid, follow);
} catch (error) {
  app.states.push(error.name);
  if (prebind) await attach();
  else connection.connect(jid, password, follow);
}

// It talks, and notes what it has said when that has left the page.
let talk;
if (talks) {
  connection.rawOutput = (data) => {
    for (const [, text] of data.matchAll(/>(said [^<]*)</g)) note('said', text);
  };
  talk = setInterval(() => {
    if (!app.jid) return;
    app.say(talks, [`said ${crypto.randomUUID()}`]);
    connection.flush();
  }, 70);
}

// A page that the browser has kept asleep has missed what others did with the session: it begins anew.
window.addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return;
  app.woken = true;
  clearInterval(talk);
  if (wakes !== 'stays') window.location.reload();
});
