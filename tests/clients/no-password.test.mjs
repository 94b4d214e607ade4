// Pages without a password: the site's session cookie is all that the browser has. The site's program gets tokens and
// sessions from the gateway, about which a real Prosody asks it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';

import * as stanza from 'stanza';

import { Scene } from './scene.mjs';
import { domain, until } from './support.mjs';

/** One for each test, whose sessions are nobody else's. */
const WOMEN = ['anna', 'berta', 'clara', 'dora', 'emma'];
let scene;

/** Who is logged in to the site, by the value of the cookie. */
const members = new Map();
/** What the pages have asked for: who, and the path. */
const asked = [];

/** Answers somebody who is logged in, with what the gateway has for her. */
const forMembers = (path) => async (req, res) => {
  const user = members.get(/session=([\w-]+)/.exec(req.headers.cookie)?.[1]);
  asked.push(`${user} ${path}`);
  if (!user) {
    res.writeHead(401).end();
    return;
  }
  const answer = await scene.site.ask(path, { username: user });
  res.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  res.end(JSON.stringify(answer));
};

before(async () => {
  scene = await Scene.start(WOMEN, {
    '/chat': 'tests/clients/page/converse.html',
    '/page.js': 'tests/clients/page/converse.js',
    '/converse/': 'demo/node_modules/converse.js/dist',
    '/strophe/chat': 'tests/clients/page/strophe.html',
    '/strophe/page.js': 'tests/clients/page/strophe.js',
    '/strophe/strophe.js': 'tests/clients/node_modules/strophe.js/dist/strophe.umd.min.js',
  }, {
    site: { server: 'prosodyAsking' },
    routes: {
      '/enter': (req, res) => {
        const session = randomUUID();
        members.set(session, new URL(req.url, 'http://localhost').searchParams.get('user'));
        res.writeHead(204, { 'Set-Cookie': `session=${session}; HttpOnly; SameSite=Strict; Path=/` }).end();
      },
      '/chat-credentials': forMembers('token'),
      '/chat-session': forMembers('prebind'),
    },
  });
});

after(() => scene?.stop());

/** Somebody logs in to the site, and opens a page there. */
async function enter(t, user, path, parameters) {
  const response = await scene.browser.context.request.get(`${scene.browser.url}enter?user=${user}`);
  assert.equal(response.status(), 204);
  const page = await scene.browser.open(parameters, path);
  t.after(() => page.close());
  return page;
}

/** Waits until the page shows Bob online, by `front`; gives its full JID. */
async function chats(page, front) {
  await page.bringToFront();
  await page.locator('li.list-item[data-status=online] a.open-chat[data-jid="bob@example.org"]').first().waitFor();
  const app = await page.evaluate(() => ({ jid: window.app.jid, front: window.app.front }));
  assert.equal(app.front, front);
  await scene.comes(app.jid);
  await page.evaluate(async () => { await window.api.chats.open('bob@example.org'); });
  return app.jid;
}

/** Each says something to the other. */
async function talk(page, jid) {
  const texts = scene.bob.tell(jid, 2);
  await until(async () => {
    const shown = await page.evaluate(() => window.app.shown());
    return texts.every((text) => shown.includes(text));
  }, `${jid} to hear ${texts}`);
  const said = `said by ${jid}`;
  await page.evaluate(([to, text]) => window.app.say(to, [text]), ['bob@example.org', said]);
  await until(() => scene.bob.heard.includes(said), `Bob to hear ${said}`);
}

/** Ends somebody's sessions; the client is to come again. */
async function end(user) {
  const url = `http://127.0.0.1:${scene.site.port}/roster_admin/sessions?user=${user}&again=true`;
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 200);
}

const times = (what) => asked.filter((it) => it === what).length;

test('Converse.js logs in by credentials_url over WebSocket, and again by another token', async (t) => {
  const page = await enter(t, 'anna', 'chat', { url: scene.site.fronts.websocket, credentials: '/chat-credentials' });
  const jid = await chats(page, 'websocket');
  await talk(page, jid);
  assert.equal(times('anna token'), 1);
  await end('anna');
  await scene.goes(jid);
  await until(() => times('anna token') === 2, 'another token to be asked for');
  await until(() => scene.logins('anna') === 2, 'another login');
  const again = await chats(page, 'websocket');
  await talk(page, again);
});

test('Converse.js goes on with a session by prebind_url over BOSH, after a reload with the same, and later with another', async (t) => {
  const page = await enter(t, 'berta', 'chat', {
    url: scene.site.fronts.bosh, jid: `berta@${domain}`, prebind: '/chat-session',
  });
  const jid = await chats(page, 'bosh');
  await talk(page, jid);
  await page.reload();
  assert.equal(await chats(page, 'bosh'), jid);
  await talk(page, jid);
  assert.deepEqual([times('berta prebind'), scene.logins('berta')], [1, 1]);
  await end('berta');
  await scene.goes(jid);
  await until(() => times('berta prebind') === 2, 'another session to be asked for');
  await until(() => scene.logins('berta') === 2, 'another login');
  await talk(page, await chats(page, 'bosh'));
});

for (const [user, skips] of [['clara', 0], ['dora', 1]]) {
  test(`Strophe attaches to a session with the rid ${skips} after the next`, async (t) => {
    const began = Date.now();
    const page = await enter(t, user, 'strophe/chat', {
      url: scene.site.url, jid: `${user}@${domain}`, prebind: '/chat-session', skips,
    });
    const state = () => page.evaluate(() => ({ ...window.app, heard: window.app.heard }));
    await until(async () => 'bob@example.org' in (await state()).roster, 'the list');
    // As long as the gateway waits for a rid that a reloaded page has not sent.
    assert.ok(Date.now() - began < 12_000, `${Date.now() - began} ms`);
    const { jid, states } = await state();
    await scene.comes(jid);
    const texts = scene.bob.tell(jid, 3);
    await until(async () => (await state()).heard.length === 3, 'messages');
    assert.deepEqual((await state()).heard, texts);
    await page.evaluate(() => window.app.say('bob@example.org', ['from Strophe']));
    await until(() => scene.bob.heard.includes('from Strophe'), 'Bob to hear Strophe');
    scene.bob.heard.splice(scene.bob.heard.indexOf('from Strophe'), 1);
    assert.equal(states.at(-1), 'ATTACHED');
    assert.equal(scene.logins(user), 1);
  });
}

test('stanza.js goes on with a session', async (t) => {
  const { jid, sid, rid } = await scene.site.ask('prebind', { username: 'emma' });
  const client = stanza.createClient({ jid, autoReconnect: false, transports: { bosh: scene.site.url, websocket: false } });
  // As docs/login.md has it: its transport can do this, but no setting of the client reaches it.
  client.transports.bosh = class extends client.transports.bosh {
    connect(settings) {
      this.authenticated = true;
      super.connect({ ...settings, sid, rid });
    }
  };
  t.after(() => client.disconnect());
  const started = new Promise((done) => { client.on('session:started', done); });
  const heard = [];
  client.on('message', ({ body }) => heard.push(body));
  client.connect();
  await started;
  const { items } = await client.getRoster();
  assert.deepEqual(items.map((item) => item.jid), [`bob@${domain}`]);
  client.sendPresence();
  await scene.comes(jid);
  const texts = scene.bob.tell(jid, 3);
  await until(() => heard.length === 3, 'messages');
  assert.deepEqual(heard, texts);
});

test('who is not logged in to the site gets nothing, and no page has a secret that lasts', async () => {
  const context = await scene.browser.driver.newContext();
  const page = await context.newPage();
  for (const path of ['chat-credentials', 'chat-session']) {
    const response = await page.request.get(`${scene.browser.url}${path}`);
    assert.equal(response.status(), 401, path);
  }
  await context.close();
  await scene.site.ask('token', { username: 'emma' });
  await scene.site.ask('prebind', { username: 'emma' });
  const log = scene.site.gateway.output();
  assert.ok(log.includes('token issued') && log.includes('session begun for a page'));
  assert.ok(!/rg1\.[\w-]{20}/.test(log), 'a token in the log');
});
