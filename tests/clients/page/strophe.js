// A chat on plain Strophe, as its documentation has it: one session for a tab, kept over reloads.

const { Strophe, $iq, $msg, $pres } = window;
const { url, jid, password } = Object.fromEntries(new URLSearchParams(window.location.search));
const RETRY = 300; // ms, after a session or an attempt has ended

const connection = new Strophe.Connection(url, { keepalive: true });
const heard = JSON.parse(sessionStorage.getItem('heard') ?? '[]');
const app = {
  jid: '', states: [], roster: {}, online: [], heard, sessions: 0,
  say(to, texts) {
    for (const text of texts) connection.send($msg({ to, type: 'chat' }).c('body').t(text));
  },
};
window.app = app;

function listen() {
  app.jid = connection.jid;
  connection.addHandler((message) => {
    const body = message.querySelector('body');
    if (body) heard.push(body.textContent);
    sessionStorage.setItem('heard', JSON.stringify(heard));
    return true;
  }, null, 'message');
  connection.addHandler((presence) => {
    const from = presence.getAttribute('from');
    app.online = app.online.filter((other) => other !== from);
    if (presence.getAttribute('type') !== 'unavailable') app.online.push(from);
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
    if (item.getAttribute('subscription') === 'remove') delete app.roster[item.getAttribute('jid')];
    else app.roster[item.getAttribute('jid')] = item.getAttribute('name');
  }
}

function follow(status, condition) {
  const state = Object.keys(Strophe.Status).find((name) => Strophe.Status[name] === status);
  app.states.push(condition ? `${state} ${condition}` : state);
  if (status === Strophe.Status.CONNECTED) {
    app.sessions += 1;
    listen();
    connection.sendIQ($iq({ type: 'get' }).c('query', { xmlns: 'jabber:iq:roster' }), take);
    connection.send($pres());
  } else if (status === Strophe.Status.ATTACHED) {
    listen();
  } else if (status === Strophe.Status.DISCONNECTED) {
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
  connection.connect(jid, password, follow);
}
