// The sample site: the one who owns the friendships, and so the contact lists.
//
// What a real site needs for rostergate is marked [1], [2], [3]; the rest is a small friends page.
// It keeps everything in memory and has no dependencies.
//
//   node site.mjs SITE.json      see run.mjs for what is in that file
//
// Every person's chat is served from a port of its own. Converse.js keeps its session in the
// browser's sessionStorage, which all frames of one origin in a tab share, so two people on one
// page need two origins. (A real site shows one person per browser and needs nothing of this.)

import { createServer, request } from 'node:http';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const here = fileURLToPath(new URL('.', import.meta.url));
const converse = join(here, 'node_modules/converse.js/dist');

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
    const response = await fetch(`${config.gateway}/roster_admin/refresh`, {
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

// [3] Converse.js talks to /http-bind on the site's own origin, as it would behind Apache or Nginx:
// one origin needs no CORS and no preflight requests. A client that hangs up is hung up upstream.
async function bosh(req, res, user) {
  const body = await bodyOf(req, 262_144);
  if (!/^<[^>]*\ssid=/.test(body)) people.get(user).sessions += 1;
  const headers = { ...req.headers, 'x-forwarded-for': req.socket.remoteAddress };
  delete headers.connection;
  delete headers['transfer-encoding'];
  headers['content-length'] = Buffer.byteLength(body);
  const { search } = new URL(req.url, 'http://site');
  const upstream = request(`${config.gateway}/http-bind${search}`, { method: req.method, headers });
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
  return config.people.map(({ user, name, port, sessions }) => ({
    user,
    name,
    jid: jidOf(user),
    port,
    sessions,
    friends: Object.fromEntries(friends.get(user)),
  }));
}

function watch(res) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  tell(res, 'people', state());
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
  for (const watcher of watchers) tell(watcher, 'people', state());
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

async function file(res, folder, name, cache = 'no-cache') {
  const path = normalize(join(folder, name));
  if (!path.startsWith(folder)) return reply(res, 404, { message: 'not found' });
  try {
    const data = await readFile(path);
    const type = types[extname(path)] ?? 'application/octet-stream';
    res.writeHead(200, { 'Content-Type': type, 'Cache-Control': cache });
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
  if (first === 'http-bind' && user) return bosh(req, res, user);
  if (first === 'credentials' && user) {
    return reply(res, 200, { jid: jidOf(user), password: people.get(user).password });
  }
  if (first === 'contacts' && !user) {
    if (!people.has(name)) return reply(res, 404, { message: 'no such user' });
    log('in', `GET /contacts/${name}`);
    return reply(res, 200, contactsOf(name));
  }
  if (first === 'events') return watch(res);
  if (first === 'people') return reply(res, 200, state());
  if (first === 'do' && req.method === 'POST') return act(name, req, res);
  if (first === 'converse') return file(res, converse, name, 'max-age=3600');
  if (first === '') return file(res, join(here, 'page'), user ? 'chat.html' : 'index.html');
  return file(res, join(here, 'page'), path.slice(1));
}

function listen(port, user) {
  const server = createServer((req, res) => {
    serve(req, res, user).catch((error) => {
      if (!res.headersSent) reply(res, 400, { message: error.message });
      else res.destroy();
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}

for (const person of config.people) {
  person.sessions = 0;
  for (const friend of person.friends ?? []) actions.befriend({ user: person.user, friend });
}
await Promise.all([listen(config.port), ...config.people.map((p) => listen(p.port, p.user))]);
console.log(`listening on http://127.0.0.1:${config.port}`);
