// What the chat needs. Each handler gets node:http's request and response, or those of Express.
import { timingSafeEqual } from 'node:crypto';

const GATEWAY = process.env.CHAT_GATEWAY ?? 'http://127.0.0.1:5290/roster_admin';
if (!process.env.CHAT_SECRET) throw new Error('CHAT_SECRET is not set');
const SECRET = Buffer.from(`Bearer ${process.env.CHAT_SECRET}`);

/** Asks the gateway; gives the status and the answer. */
async function ask(method, path, body) {
  try {
    const signal = AbortSignal.timeout(10_000);
    const response = await fetch(GATEWAY + path, { method, signal, body: body && JSON.stringify(body) });
    return { status: response.status, answer: await response.json() };
  } catch {
    return { status: 503, answer: { message: 'the chat is not there' } };
  }
}

function answer(res, status, data) {
  res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  res.end(JSON.stringify(data));
}

function isGateway(req) {
  const said = Buffer.from(req.headers.authorization ?? '');
  return said.length === SECRET.length && timingSafeEqual(said, SECRET);
}

/** GET /chat-credentials, for the page. `user`: who is logged in, if anybody is, and not banned. */
export async function credentials(req, res, user) {
  if (!user) return answer(res, 403, {});
  const token = await ask('POST', '/token', { username: user });
  return answer(res, token.status, token.answer);
}

/** GET /contacts/USER, for the gateway. `friends`: a Map of their names by username; nothing if there is no such member. */
export function contacts(req, res, friends) {
  if (!isGateway(req)) return answer(res, 401, {});
  if (!friends) return answer(res, 404, {});
  const list = [...friends].map(([friend, name]) => [`${friend}@example.org`, { name, groups: ['Friends'] }]);
  return answer(res, 200, Object.fromEntries(list));
}

/** After COMMIT: these members have other friends now. Wait for it or not: meanwhile the gateway asks for the lists. */
export const friendsChanged = (...users) => ask('POST', '/refresh', users);

/** Who is online. With several processes, this belongs into a table. */
export const online = new Set();
/** The last event of each gateway, by the name that its events_url has. */
const last = new Map();
/** Several gateways send at the same time: what comes first is taken first. */
let turn = Promise.resolve();

/** Asks who is online, and as of which event: null with several gateways. Of more than 1,000, ask for the rest by after= */
async function askWhoIsOnline() {
  const { status, answer: { users, event } } = await ask('GET', '/presence?limit=1000');
  if (status !== 200) throw new Error('the chat is not there');
  online.clear();
  for (const user of Object.keys(users)) online.add(user);
  return event;
}

// This program has been started, and has heard nothing. A gateway that is not there says `reset` when it is.
last.set(null, await askWhoIsOnline().catch(() => 0));

/** POST /chat-events, from the gateway; of several gateways, each says ?gateway= in its events_url. */
export async function events(req, res) {
  if (!isGateway(req)) return answer(res, 401, {});
  const gateway = new URL(req.url, 'http://site').searchParams.get('gateway');
  try {
    let body = '';
    for await (const chunk of req.setEncoding('utf8')) body += chunk;
    const taken = turn.then(() => take(gateway, JSON.parse(body)));
    turn = taken.catch(() => {});
    await taken;
  } catch {
    return res.destroy(); // broken off, or a gap that cannot be filled yet: the gateway sends it again
  }
  return answer(res, 200, {});
}

async function take(gateway, events) {
  for (const { id, type, user } of events) {
    if (id <= last.get(gateway)) continue; // it has come before
    let as = id;
    if (type === 'gap') as = Math.max(id, await askWhoIsOnline());
    else if (type === 'online') online.add(user);
    else if (type === 'offline') online.delete(user);
    else if (type === 'reset') online.clear();
    last.set(gateway, as);
  }
}

/** After COMMIT: this member is banned, or has logged out. */
export const end = (user) => ask('DELETE', `/sessions?user=${encodeURIComponent(user)}`);
