// What the site of docs/site.md has besides: members, friends, a cookie.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { contacts, credentials, end, events, friendsChanged, online } from './chat.mjs';

const visitors = new Map();
const friends = new Map();
const banned = new Set();

async function posted(req) {
  let body = '';
  for await (const chunk of req.setEncoding('utf8')) body += chunk;
  return Object.fromEntries(new URLSearchParams(body));
}

async function serve(req, res) {
  const { pathname } = new URL(req.url, 'http://site');
  const user = visitors.get(/session=([\w-]+)/.exec(req.headers.cookie)?.[1]);
  if (pathname === '/enter') {
    const session = randomUUID();
    visitors.set(session, (await posted(req)).user);
    res.writeHead(200, { 'Set-Cookie': `session=${session}; HttpOnly; Path=/` }).end();
  } else if (pathname === '/chat-credentials') {
    await credentials(req, res, banned.has(user) ? undefined : user);
  } else if (pathname.startsWith('/contacts/')) {
    contacts(req, res, friends.get(decodeURIComponent(pathname.slice(10))));
  } else if (pathname === '/befriend') {
    const { one, other } = await posted(req);
    friends.set(one, new Map(friends.get(one)).set(other, 'Friend of One'));
    friends.set(other, new Map(friends.get(other)).set(one, 'Friend of Other'));
    await friendsChanged(one, other);
    res.end();
  } else if (pathname === '/chat-events') {
    await events(req, res);
  } else if (pathname === '/online') {
    res.end(JSON.stringify([...online]));
  } else if (pathname === '/ban') {
    const { user: whom } = await posted(req);
    banned.add(whom);
    await end(whom);
    res.end();
  } else {
    res.writeHead(404).end();
  }
}

createServer(serve).listen(Number(process.argv[2]), '127.0.0.1');
