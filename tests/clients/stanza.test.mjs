// stanza.js on Node, over each of the gateway's fronts, with each of the servers behind it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as stanza from 'stanza';

import { FRONTS, Relay, Site, domain, fronts, until } from './support.mjs';

/** Logs in at a front; `seen` keeps what the client has told, in order. */
async function login({ site, clients, front }, user) {
  const relay = await Relay.start(site.port);
  const url = fronts(relay.port)[front];
  const client = stanza.createClient({
    jid: `${user}@${domain}`,
    password: site.password(user),
    autoReconnect: true,
    maxReconnectBackoff: 1,
    transports: { bosh: false, websocket: false, [front]: url },
  });
  client.relay = relay;
  client.seen = { sessions: 0, ended: 0, messages: [], pushes: [], available: [], unavailable: [], replies: 0 };
  clients.push(client);
  client.on('session:started', () => { client.seen.sessions += 1; });
  client.on('disconnected', () => { client.seen.ended += 1; });
  client.on('message', (message) => client.seen.messages.push(message.body));
  client.on('roster:update', (iq) => client.seen.pushes.push(...iq.roster.items));
  client.on('available', ({ from }) => client.seen.available.push(from));
  client.on('unavailable', ({ from }) => client.seen.unavailable.push(from));
  client.on('raw:outgoing', (data) => {
    client.seen.replies += data.match(/type="result"/g)?.length ?? 0;
  });
  client.connect();
  await until(() => client.seen.sessions === 1, `${user} to log in`);
  return client;
}

async function logout(client) {
  client.config.autoReconnect = false;
  if (!client.transport) return;
  const { ended } = client.seen;
  client.disconnect();
  await until(() => client.seen.ended > ended, 'the end of the session');
}

for (const server of ['prosody', 'ejabberd']) for (const front of FRONTS) describe(`${front} with ${server}`, () => {
  let site;
  const clients = [];
  const come = (user) => login({ site, clients, front }, user);

  before(async () => {
    site = await Site.start({
      server,
      bosh: 'wait = "5s"\ninactivity = "10s"',
      users: {
        alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'], subscription: 'both' } },
        bob: { 'alice@example.org': { name: 'Alice' } },
      },
    });
  });

  after(async () => {
    try {
      await Promise.all(clients.map(logout));
    } finally {
      for (const { relay } of clients) relay.stop();
      await site?.stop();
    }
  });

  test('login, the backend\'s list, presence, chat, a push, and on after a loss', async () => {
    const alice = await come('alice');
    const bob = await come('bob');

    const { items } = await alice.getRoster();
    assert.deepEqual(items.map(({ jid, name, groups, subscription }) => (
      { jid, name, groups, subscription })), [
      { jid: 'bob@example.org', name: 'Bob <3', groups: ['Friends'], subscription: 'both' },
    ]);
    await bob.getRoster();
    alice.sendPresence();
    bob.sendPresence();
    await until(() => alice.seen.available.includes(bob.jid), 'Bob to appear');
    await until(() => bob.seen.available.includes(alice.jid), 'Alice to appear');

    const said = Array.from({ length: 20 }, (_, i) => `hello ${i} & <good> day`);
    for (const body of said) alice.sendMessage({ to: bob.jid, type: 'chat', body });
    await until(() => bob.seen.messages.length >= said.length, 'the messages');
    assert.deepEqual(bob.seen.messages, said);
    bob.sendMessage({ to: alice.jid, type: 'chat', body: 'and to you' });
    await until(() => alice.seen.messages.length, 'the answer');
    assert.deepEqual(alice.seen.messages, ['and to you']);

    await site.change('alice', { 'carol@example.org': { name: 'Carol' } });
    await until(() => alice.seen.pushes.length >= 2, 'the pushes');
    assert.deepEqual(alice.seen.pushes.map(({ jid, subscription }) => [jid, subscription]).sort(),
      [['bob@example.org', 'remove'], ['carol@example.org', 'both']]);

    await until(() => alice.seen.replies === 2, 'the answers to the pushes');
    await (front === 'bosh' ? comeBack(alice) : resume(alice, bob));
    bob.sendMessage({ to: `alice@${domain}`, type: 'chat', body: 'back again?' });
    await until(() => alice.seen.messages.includes('back again?'), 'a message in the new session');
  });

  test('logging out ends the session at once', async () => {
    const [alice, bob] = clients;
    const { jid } = bob;
    await logout(bob);
    await until(() => alice.seen.unavailable.includes(jid), 'Bob to be gone', 5_000);
  });
});

/** Somebody ends the session behind the client's back: it comes again by itself. Not, alas, with a stanza still to be sent. */
async function comeBack(alice) {
  const { transport: { sid, rid, url } } = alice;
  await fetch(url, {
    method: 'POST',
    body: "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' "
      + `sid='${sid}' rid='${rid}'/>`,
  }).then((response) => response.text());
  await until(() => alice.seen.sessions === 2, 'Alice to log in again');
  assert.deepEqual((await alice.getRoster()).items.map(({ jid }) => jid), ['carol@example.org']);
  alice.sendPresence();
  await until(() => alice.seen.available.includes(alice.jid), 'Alice to be available');
}

/** The network breaks: the session goes on. */
async function resume(alice, bob) {
  alice.relay.break();
  bob.sendMessage({ to: alice.jid, type: 'chat', body: 'are you there?' });
  alice.relay.mend();
  await until(() => alice.seen.messages.includes('are you there?'), 'what was said meanwhile');
  assert.equal(alice.seen.sessions, 1);
}
