// A small site: members, who is a friend of whom, and a chat.

import { randomUUID, scrypt, timingSafeEqual } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import sqlite from 'node-sqlite3-wasm';

import { contacts, credentials, end, events, friendsChanged, online } from './chat.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const page = join(here, '../page');
const types = { '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript', '.svg': 'image/svg+xml' };

const db = new sqlite.Database(process.env.SITE_DATABASE ?? join(here, 'site.sqlite3'));
db.exec(`
  CREATE TABLE IF NOT EXISTS members (username TEXT PRIMARY KEY, name TEXT NOT NULL, salt TEXT NOT NULL, password BLOB NOT NULL);
  CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, member TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS friends (member TEXT NOT NULL, friend TEXT NOT NULL, PRIMARY KEY (member, friend));
`);

const hash = (password, salt) => promisify(scrypt)(password, salt, 32);
const member = (username) => db.get('SELECT * FROM members WHERE username = ?', [username]);

/** Their names by username; nothing if there is no such member. */
function friendsOf(username) {
  if (!member(username)) return undefined;
  const rows = db.all('SELECT username, name FROM friends JOIN members ON username = friend WHERE member = ? ORDER BY name', [username]);
  return new Map(rows.map((row) => [row.username, row.name]));
}

/** Both ways, in one transaction; the gateway is told when it is over. */
async function changeFriendship(query, one, other) {
  db.exec('BEGIN');
  db.run(query, [one, other]);
  db.run(query, [other, one]);
  db.exec('COMMIT');
  await friendsChanged(one, other);
}

function enter(res, username) {
  const id = randomUUID();
  db.run('INSERT INTO sessions VALUES (?, ?)', [id, username]);
  res.setHeader('Set-Cookie', `session=${id}; HttpOnly; SameSite=Lax; Path=/`);
}

const sessionOf = (req) => /session=([\w-]+)/.exec(req.headers.cookie)?.[1] ?? '';

/** What forms ask for; each gives what is wrong with it, if anything is. */
const actions = {
  async '/join'({ username = '', name, password }, res) {
    if (!/^[a-z0-9-]{1,30}$/.test(username) || !password) {
      return 'A username has small letters and digits, and there has to be a password.';
    }
    const salt = randomUUID();
    const hashed = await hash(password, salt);
    if (member(username)) return 'That username is taken.';
    db.run('INSERT INTO members VALUES (?, ?, ?, ?)', [username, name || username, salt, hashed]);
    return enter(res, username);
  },
  async '/login'({ username = '', password = '' }, res) {
    const known = member(username);
    if (!known || !timingSafeEqual(await hash(password, known.salt), known.password)) return 'That is not right.';
    return enter(res, username);
  },
  async '/add'({ username = '' }, res, user) {
    if (!user || username === user || !member(username)) return 'There is nobody of that name.';
    return changeFriendship('INSERT OR IGNORE INTO friends VALUES (?, ?)', user, username);
  },
  async '/remove'({ username = '' }, res, user) {
    if (user) await changeFriendship('DELETE FROM friends WHERE member = ? AND friend = ?', user, username);
  },
  async '/logout'(form, res, user, session) {
    db.run('DELETE FROM sessions WHERE id = ?', [session]);
    if (user) await end(user);
  },
};

const h = (text) => text.replaceAll(/[&<>"]/g, (sign) => `&#${sign.codePointAt(0)};`);

function show(res, user, wrong = '') {
  const entrance = `
    <form method="post" action="/login"><h1>Log in</h1>
      <input name="username" placeholder="Username"> <input name="password" type="password" placeholder="Password">
      <button>Log in</button></form>
    <form method="post" action="/join"><h1>Join</h1>
      <input name="username" placeholder="Username"> <input name="name" placeholder="Name">
      <input name="password" type="password" placeholder="Password"> <button>Join</button></form>`;
  const friends = () => [...friendsOf(user)].map(([friend, name]) => `
    <li><form method="post" action="/remove">${h(name)}${online.has(friend) ? ' (online)' : ''}
      <input name="username" type="hidden" value="${friend}"> <button>Remove</button></form></li>`).join('');
  res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
  res.end(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Friends</title><p role="alert">${h(wrong)}</p>
    ${user ? `<h1>Friends of ${user}</h1><p><a href="/chat.html" target="_blank">Chat</a></p><ul>${friends()}</ul>
    <form method="post" action="/add"><input name="username" placeholder="Username"> <button>Add</button></form>
    <form method="post" action="/logout"><button>Log out</button></form>` : entrance}`);
}

async function formOf(req) {
  let body = '';
  for await (const chunk of req.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 10_000) throw new Error('too much');
  }
  return Object.fromEntries(new URLSearchParams(body));
}

/** A file of the page. Better left to the web server. */
async function file(res, pathname) {
  const path = join(page, normalize(pathname));
  const isFile = await stat(path).then((found) => found.isFile(), () => false);
  if (!isFile) return res.writeHead(404).end();
  res.writeHead(200, { 'Content-Type': types[extname(path)] ?? 'application/octet-stream' });
  return createReadStream(path).pipe(res);
}

async function serve(req, res) {
  const { pathname } = new URL(req.url, 'http://site');
  const session = sessionOf(req);
  const user = db.get('SELECT member FROM sessions WHERE id = ?', [session])?.member;
  if (pathname.startsWith('/contacts/')) return contacts(req, res, friendsOf(decodeURIComponent(pathname.slice(10))));
  if (pathname === '/chat-events') return events(req, res);
  if (pathname === '/chat-credentials') return credentials(req, res, user);
  if (pathname === '/') return show(res, user);
  if (req.method !== 'POST' || !Object.hasOwn(actions, pathname)) return file(res, pathname);
  const wrong = await actions[pathname](await formOf(req), res, user, session);
  return wrong ? show(res, user, wrong) : res.writeHead(303, { Location: '/' }).end();
}

const server = createServer((req, res) => {
  serve(req, res).catch((error) => {
    console.error(error);
    res.destroy();
  });
});
server.listen(process.env.PORT ?? 8000, '127.0.0.1');
