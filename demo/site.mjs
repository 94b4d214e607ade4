// The sample site: the one who owns the friendships, and so the contact lists.
//
// What a real site needs for rostergate is marked [1] to [6]; the rest is a small friends page.
// It keeps everything in memory and has no dependencies.
//
//   node site.mjs SITE.json      see run.mjs for what is in that file
//
// Every person's chat is served from a port of its own. Converse.js keeps its session in the
// browser's sessionStorage, which all frames of one origin in a tab share, so two people on one
// page need two origins. (A real site shows one person per browser and needs nothing of this.)

import { randomUUID } from 'node:crypto';
import { createServer, request } from 'node:http';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const here = fileURLToPath(new URL('.', import.meta.url));
const converse = join(here, 'node_modules/converse.js/dist');

const gateway = `http://${config.gateway.host}:${config.gateway.port}`;
const people = new Map(config.people.map((person) => [person.user, person]));
const friends = new Map(config.people.map((person) => [person.user, new Map()]));
const groups = ['Friends', 'Family', 'Work'];
const jidOf = (user) => `${user}@${config.domain}`;

// ---- friendships ------------------------------------------------------------------------------

const actions = {
  befriend({ user, friend }) {
    friends.get(user).set(friend, { name: people.get(friend).name, group: groups[0] });
    friends.get(friend).set(user, { name: people.get(user).name, group: groups[0] });
    return [user, friend];
  },
  unfriend({ user, friend }) {
    friends.get(user).delete(friend);
    friends.get(friend).delete(user);
    return [user, friend];
  },
  rename({ user, friend, name }) {
    friends.get(user).get(friend).name = name;
    return [user];
  },
  regroup({ user, friend, group }) {
    friends.get(user).get(friend).group = group;
    return [user];
  },
};

function refuse(action, { user, friend, name, group }) {
  if (!Object.hasOwn(actions, action)) return 'no such action';
  if (!people.has(user) || !people.has(friend) || user === friend) return 'no such people';
  if (action !== 'befriend' && !friends.get(user).has(friend)) return 'they are not friends';
  if (action === 'rename' && !(typeof name === 'string' && name.trim())) return 'a name is needed';
  if (action === 'regroup' && !groups.includes(group)) return 'no such group';
  return null;
}

// [1] The gateway asks for a user's contacts: a JSON object, contact -> name and groups.
function contactsOf(user) {
  const contacts = {};
  for (const [friend, { name, group }] of friends.get(user)) {
    contacts[jidOf(friend)] = { name, groups: [group] };
  }
  return contacts;
}

// [2] After each change, tell the gateway whose contacts have changed.
async function refresh(users) {
  log('out', `POST /roster_admin/refresh ${JSON.stringify(users)}`);
  try {
    const response = await fetch(`${gateway}/roster_admin/refresh`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(users),
    });
    const summary = await response.json();
    const failed = summary.errors ? `, ${summary.errors} failed` : '';
    log(response.ok ? 'ok' : 'bad', `${response.status} updated ${summary.updated}${failed}`);
    return summary;
  } catch (error) {
    log('bad', `no answer: ${error.cause?.code ?? error.message}`);
    return { status: 'error', message: 'the gateway does not answer' };
  }
}

/** Asks the gateway for something else; gives its answer, with the status. */
async function ask(method, path, body) {
  const text = body && JSON.stringify(body);
  log('out', `${method} /roster_admin/${path}${text ? ` ${text}` : ''}`);
  try {
    const response = await fetch(`${gateway}/roster_admin/${path}`, { method, body: text });
    const answer = await response.json();
    log(response.ok ? 'ok' : 'bad', `${response.status} ${answer.message ?? ''}`);
    return { status: response.status, answer };
  } catch (error) {
    log('bad', `no answer: ${error.cause?.code ?? error.message}`);
    return { status: 503, answer: { message: 'the gateway does not answer' } };
  }
}

// [3] No page has a password. The chat asks the site, which knows its visitors by a cookie, and the site asks the
// gateway for a token, which is good for one login.
const visitors = new Map(); // who is logged in to the site, by the value of the cookie

/** The demo has no form for that: whoever opens the page of a person is that person. */
function enter(user) {
  const session = randomUUID();
  visitors.set(session, user);
  // Each person has a cookie of another name, as browsers share cookies among the ports of a machine.
  return `session-${user}=${session}; HttpOnly; SameSite=Strict; Path=/`;
}

async function credentials(req, res, user) {
  const cookies = Object.fromEntries((req.headers.cookie ?? '').split('; ').map((one) => one.split('=')));
  if (visitors.get(cookies[`session-${user}`]) !== user) return reply(res, 401, { message: 'log in first' });
  if (people.get(user).banned) return reply(res, 403, { message: 'this person is banned' });
  const { status, answer } = await ask('POST', 'token', { username: user });
  return reply(res, status, answer);
}

// [4] The gateway tells who comes online and who goes, in order, at least once. Several tell one story, each with ids of its
// own; who tells is in the URL.
const online = new Set();
const lastEvents = new Map(); // by gateway; a single one has no name
let turn = Promise.resolve();

/** One request after the other, as several gateways send at the same time. */
function hear(req, res) {
  turn = turn.then(() => take(req, res), () => take(req, res));
  return turn;
}

async function take(req, res) {
  if (req.headers.authorization !== `Bearer ${config.eventsToken}`) return reply(res, 401, {});
  const gateway = new URL(req.url, 'http://site').searchParams.get('gateway') ?? '';
  for (const { id, type, user } of JSON.parse(await bodyOf(req, 1_048_576))) {
    if (id <= (lastEvents.get(gateway) ?? 0)) continue; // it has come before
    lastEvents.set(gateway, id);
    if (type === 'online') online.add(user);
    else if (type === 'offline') online.delete(user);
    else if (type === 'reset') online.clear();
    else if (type === 'gap') await askWhoIsOnline();
    log('in', `POST /chat-events ${type}${user ? ` ${user}` : ''}${gateway && `, by gateway ${gateway}`}`);
  }
  tellPeople();
  return reply(res, 200, {});
}

/** After a gap. (A site with more members asks for one part after the other, by `after=`.) */
async function askWhoIsOnline() {
  for (let tries = 0; tries < 3; tries += 1) {
    if (tries > 0) await pause(5000); // a gateway that did not answer counts as gone then
    const { answer } = await ask('GET', 'presence?limit=1000');
    online.clear();
    for (const user of Object.keys(answer.users ?? {})) online.add(user);
    if (answer.users && !answer.incomplete) return;
  }
}

// [5] Who is banned gets no more tokens, and the chats that are open end.
async function ban(req, res) {
  const { user, banned } = JSON.parse(await bodyOf(req, 4096));
  if (!people.has(user)) return reply(res, 400, { message: 'no such person' });
  const person = people.get(user);
  person.banned = banned === true;
  log('site', `${person.name} is ${person.banned ? '' : 'no longer '}banned`);
  tellPeople();
  if (!person.banned) return reply(res, 200, {});
  const { status, answer } = await ask('DELETE', `sessions?user=${user}`);
  return reply(res, status, answer);
}

// [6] Converse.js talks to /http-bind or /xmpp-websocket on the site's own origin, as it would behind
// Apache or Nginx: one origin needs no CORS and no preflight requests. A client that hangs up is hung
// up upstream.
async function bosh(req, res) {
  const body = await bodyOf(req, 262_144);
  const headers = { ...req.headers, 'x-forwarded-for': req.socket.remoteAddress };
  delete headers.connection;
  delete headers['transfer-encoding'];
  headers['content-length'] = Buffer.byteLength(body);
  const { search } = new URL(req.url, 'http://site');
  const upstream = request(`${gateway}/http-bind${search}`, { method: req.method, headers });
  upstream.on('response', (answer) => {
    const { connection, 'transfer-encoding': _, ...rest } = answer.headers;
    res.writeHead(answer.statusCode, rest);
    answer.pipe(res);
    answer.on('error', () => res.destroy());
  });
  upstream.on('error', () => (res.headersSent ? res.destroy() : reply(res, 502, 'no gateway')));
  res.on('close', () => upstream.destroy());
  upstream.end(body);
}

function websocket(req, socket, head) {
  const upstream = connect(config.gateway);
  const fields = req.rawHeaders.map((text, i) => (i % 2 ? `${text}\r\n` : `${text}: `));
  upstream.write(`${req.method} ${req.url} HTTP/1.1\r\n${fields.join('')}`
    + `X-Forwarded-For: ${socket.remoteAddress}\r\n\r\n`);
  upstream.write(head);
  socket.pipe(upstream).pipe(socket);
  for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
    one.on('error', () => {});
    one.on('close', () => other.destroy());
  }
}

/** Cuts all connections of `user`, and takes no others for a while. */
function pullPlug({ user, seconds }) {
  const person = people.get(user);
  clearTimeout(person.unplugged);
  for (const socket of person.sockets) socket.destroy();
  person.unplugged = setTimeout(() => {
    person.unplugged = null;
    log('site', `${person.name}’s chat has its network back`);
    tellPeople();
  }, seconds * 1000);
  log('site', `${person.name}’s chat has no network for ${seconds} s`);
  tellPeople();
}

// ---- several gateways -------------------------------------------------------------------------

const LOOK = 300; // ms between two looks at a gateway
const PATIENCE = 6000; // ms that one may take: while another one that has died counts as there, they wait for it
const gateways = config.gateways.map(({ name, port }) => ({ name, port, answers: false, chats: [] }));

/** Whose chats a gateway has, by what it says itself; null if it does not answer. */
async function chatsAt({ name, port }) {
  try {
    const url = `http://${config.gateway.host}:${port}/roster_admin/sessions?limit=1000`;
    const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
    const { sessions } = await response.json();
    const own = sessions.filter(({ gateway, jid, state }) => gateway === name && jid && state !== 'ending');
    return [...new Set(own.map(({ jid }) => jid.split('@')[0]))].sort();
  } catch {
    return null;
  }
}

/** Looks at a gateway, again and again, while somebody watches. */
async function lookAt(gateway) {
  for (;;) {
    await pause(LOOK);
    if (watchers.size === 0) continue;
    const chats = await chatsAt(gateway);
    const answers = chats !== null;
    if (answers === gateway.answers && String(chats ?? []) === String(gateway.chats)) continue;
    if (answers !== gateway.answers) log('site', `gateway ${gateway.name} ${answers ? 'answers' : 'does not answer'}`);
    Object.assign(gateway, { answers, chats: chats ?? [] });
    for (const watcher of watchers) tell(watcher, 'gateways', shownGateways());
  }
}

const shownGateways = () => gateways.map(({ name, answers, chats }) => ({ name, answers, chats }));

/** Has a gateway killed, or started again, by what has started the demo. */
async function command(req, res) {
  const { name, isToRun } = JSON.parse(await bodyOf(req, 4096));
  if (!gateways.some((one) => one.name === name) || typeof isToRun !== 'boolean') return reply(res, 400, { message: 'no such gateway' });
  log('site', isToRun ? `starting gateway ${name}` : `kill -9 of gateway ${name}`);
  process.send({ name, isToRun });
  return reply(res, 200, {});
}

// ---- what the page sees -----------------------------------------------------------------------

const watchers = new Set();
const history = [];

function tell(res, event, data) {
  res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function log(kind, text) {
  const entry = { kind, text };
  history.push(entry);
  if (history.length > 50) history.shift();
  for (const res of watchers) tell(res, 'log', entry);
}

function state() {
  return config.people.map(({ user, name, port, front, unplugged, banned }) => ({
    user,
    name,
    jid: jidOf(user),
    port,
    front,
    unplugged: unplugged !== null,
    online: online.has(user),
    banned: banned === true,
    friends: Object.fromEntries(friends.get(user)),
  }));
}

function tellPeople() {
  for (const watcher of watchers) tell(watcher, 'people', state());
}

function watch(res) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  tell(res, 'people', state());
  if (gateways.length) tell(res, 'gateways', shownGateways());
  for (const entry of history) tell(res, 'log', entry);
  watchers.add(res);
  res.on('close', () => watchers.delete(res));
}

async function act(action, req, res) {
  const input = JSON.parse(await bodyOf(req, 4096));
  const problem = refuse(action, input);
  if (problem) return reply(res, 400, { message: problem });
  const changed = actions[action](input);
  const [a, b] = [input.user, input.friend].map((user) => people.get(user).name);
  log('site', {
    befriend: `${a} and ${b} are friends now`,
    unfriend: `${a} and ${b} are no longer friends`,
    rename: `${a} calls ${b} “${input.name}”`,
    regroup: `${a} moves ${b} to ${input.group}`,
  }[action]);
  tellPeople();
  return reply(res, 200, await refresh(changed));
}

// ---- HTTP -------------------------------------------------------------------------------------

const types = {
  '.css': 'text/css', '.html': 'text/html; charset=utf-8', '.js': 'text/javascript',
  '.json': 'application/json', '.mp3': 'audio/mpeg', '.ogg': 'audio/ogg', '.png': 'image/png',
  '.svg': 'image/svg+xml', '.ttf': 'font/ttf', '.wasm': 'application/wasm',
  '.woff': 'font/woff', '.woff2': 'font/woff2',
};

async function bodyOf(req, limit) {
  let body = '';
  for await (const chunk of req.setEncoding('utf8')) {
    body += chunk;
    if (body.length > limit) throw new Error('the request is too large');
  }
  return body;
}

function reply(res, status, data) {
  const text = JSON.stringify(data);
  res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  res.end(text);
}

async function file(res, folder, name, cache = 'no-cache', headers = {}) {
  const path = normalize(join(folder, name));
  if (!path.startsWith(folder)) return reply(res, 404, { message: 'not found' });
  try {
    const data = await readFile(path);
    const type = types[extname(path)] ?? 'application/octet-stream';
    res.writeHead(200, { 'Content-Type': type, 'Cache-Control': cache, ...headers });
    return res.end(data);
  } catch {
    return reply(res, 404, { message: 'not found' });
  }
}

/** Serves `user`'s chat, or the friends page itself when there is no `user`. */
async function serve(req, res, user) {
  const path = decodeURIComponent(new URL(req.url, 'http://site').pathname);
  const [, first, ...rest] = path.split('/');
  const name = rest.join('/');
  if (first === 'http-bind' && user) return bosh(req, res);
  if (first === 'credentials' && user) return credentials(req, res, user);
  if (first === 'contacts' && !user) {
    if (!people.has(name)) return reply(res, 404, { message: 'no such user' });
    log('in', `GET /contacts/${name}`);
    return reply(res, 200, contactsOf(name));
  }
  if (first === 'chat-events' && !user && req.method === 'POST') return hear(req, res);
  // Pages of other sites can have a browser post here, but not JSON: they would have to ask first (CORS).
  if (req.method === 'POST' && req.headers['content-type'] !== 'application/json') {
    return reply(res, 415, { message: 'JSON is needed' });
  }
  if (first === 'ban' && req.method === 'POST') return ban(req, res);
  if (first === 'gateway' && req.method === 'POST') return command(req, res);
  if (first === 'events') return watch(res);
  if (first === 'people') return reply(res, 200, state());
  if (first === 'do' && req.method === 'POST') return act(name, req, res);
  if (first === 'unplug' && req.method === 'POST') {
    const input = JSON.parse(await bodyOf(req, 4096));
    if (!people.has(input.user) || !(input.seconds > 0 && input.seconds <= 60)) {
      return reply(res, 400, { message: 'a person and 1 to 60 seconds are needed' });
    }
    pullPlug(input);
    return reply(res, 200, {});
  }
  if (first === 'converse') return file(res, converse, name, 'max-age=3600');
  if (first === '' && user) {
    return file(res, join(here, 'page'), 'chat.html', 'no-store', { 'Set-Cookie': enter(user) });
  }
  if (first === '') return file(res, join(here, 'page'), 'index.html');
  return file(res, join(here, 'page'), path.slice(1));
}

/**
 * Whether a request names this machine. A page of somebody else could have a name of its own lead here (DNS rebinding),
 * and would then be of the same origin.
 */
const isForUs = ({ headers }) => /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i.test(headers.host ?? '');

function listen(port, user) {
  const server = createServer((req, res) => {
    if (!isForUs(req)) return reply(res, 403, { message: 'the demo is at localhost only' });
    return serve(req, res, user).catch((error) => {
      if (!res.headersSent) reply(res, 400, { message: error.message });
      else res.destroy();
    });
  });
  if (user) {
    const { sockets } = people.get(user);
    server.on('upgrade', (req, socket, head) => (isForUs(req) ? websocket(req, socket, head) : socket.destroy()));
    server.on('connection', (socket) => {
      if (people.get(user).unplugged) return socket.destroy();
      sockets.add(socket);
      return socket.on('close', () => sockets.delete(socket));
    });
  }
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

for (const person of config.people) {
  person.sockets = new Set();
  person.unplugged = null; // the timer that ends it
  for (const friend of person.friends ?? []) actions.befriend({ user: person.user, friend });
}
await Promise.all([listen(config.port), ...config.people.map((p) => listen(p.port, p.user))]);
for (const gateway of gateways) lookAt(gateway);
console.log(`listening on http://127.0.0.1:${config.port}`);
