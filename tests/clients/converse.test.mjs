// Converse.js in Chromium: what the test of the demo page leaves out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { hidden, setOffline } from './browser.mjs';
import { Scene } from './scene.mjs';
import { domain, until } from './support.mjs';

/** One for each test, whose sessions are nobody else's. */
const WOMEN = ['anna', 'berta', 'clara', 'dora', 'emma'];
let scene;

before(async () => {
  scene = await Scene.start(WOMEN, {
    '/': 'tests/clients/page/converse.html',
    '/page.js': 'tests/clients/page/converse.js',
    '/converse/': 'demo/node_modules/converse.js/dist',
  });
});

after(() => scene?.stop());

/** Waits until the page shows Bob, online. */
async function shows(page) {
  await page.bringToFront();
  await page.locator('li.list-item[data-status=online] a.open-chat[data-jid="bob@example.org"]')
    .first().waitFor(); // it is listed twice while messages are unread
}

/** A tab with somebody logged in; `jid` is that of the session. */
async function open(t, user) {
  const page = await scene.open(t, user);
  await shows(page);
  // Several messages at once would each begin a chat of its own, of which one is kept.
  await page.evaluate(async () => { await window.api.chats.open('bob@example.org'); });
  return follow(page);
}

async function follow(page) {
  const jid = await page.evaluate(() => window.api.connection.get().jid);
  await scene.comes(jid);
  return Object.assign(page, { jid });
}

/** What Bob has said, as Converse.js keeps it. */
const heard = (page) => page.evaluate(async () => {
  const chat = await window.api?.chats.get('bob@example.org');
  return chat?.messages?.map((message) => message.get('body')) ?? [];
});

/** Writes to Bob. */
const say = (page, body) => page.evaluate(async (text) => {
  (await window.api.chats.get('bob@example.org')).sendMessage({ body: text });
}, body);

async function hears(page, texts) {
  await until(async () => (await heard(page)).includes(texts.at(-1)), `${page.jid} to hear ${texts.at(-1)}`);
  const bodies = (await heard(page)).filter((body) => texts.includes(body));
  assert.deepEqual(bodies, texts, 'each once, in order');
}

test('a reload too late logs in again, and hears what was said meanwhile', async (t) => {
  const page = await open(t, 'anna');
  await hears(page, scene.bob.tell(page.jid, 3));
  const before = scene.logins('anna');
  await page.goto('about:blank');
  await scene.goes(page.jid);
  const texts = scene.bob.tell(`anna@${domain}`, 5);
  await scene.reopen(page, 'anna');
  await hears(page, texts);
  await shows(page);
  assert.equal(scene.logins('anna'), before + 1);
  await follow(page);
  await say(page, 'back');
  await until(() => scene.bob.heard.includes('back'), 'Bob to hear');
});

test('two tabs have a session each', async (t) => {
  const one = await open(t, 'berta');
  const two = await open(t, 'berta');
  assert.notEqual(one.jid, two.jid);
  await scene.site.change('berta', { 'bob@example.org': { name: 'Bob of two' } });
  for (const page of [one, two]) {
    await page.bringToFront();
    await page.locator('.contact-name', { hasText: 'Bob of two' }).waitFor();
  }
  await hears(one, scene.bob.tell(one.jid, 3));
  await hears(two, scene.bob.tell(two.jid, 3));
  await two.close();
  await scene.goes(two.jid);
  await hears(one, scene.bob.tell(one.jid, 3));
  const before = scene.logins('berta');
  await one.reload();
  await hears(one, scene.bob.tell(one.jid, 3));
  assert.equal(scene.logins('berta'), before, 'the reload goes on with the session');
});

test('a short time without network ends no session', async (t) => {
  const page = await open(t, 'clara');
  const before = scene.logins('clara');
  const noticed = page.waitForEvent('requestfailed');
  await setOffline(page, true);
  const texts = scene.bob.tell(page.jid, 5);
  await say(page, 'said offline');
  await noticed;
  await setOffline(page, false);
  await hears(page, texts);
  await until(() => scene.bob.heard.includes('said offline'), 'Bob to hear');
  assert.equal(scene.bob.heard.filter((text) => text === 'said offline').length, 1);
  assert.equal(scene.logins('clara'), before);
});

test('a long time without network: a new session hears what was said meanwhile', async (t) => {
  const page = await open(t, 'dora');
  const before = scene.logins('dora');
  await setOffline(page, true);
  const texts = scene.bob.tell(page.jid, 2);
  await scene.goes(page.jid);
  texts.push(...scene.bob.tell(`dora@${domain}`, 3));
  await setOffline(page, false);
  await hears(page, texts);
  await shows(page);
  assert.equal(scene.logins('dora'), before + 1);
});

test('a hidden tab, whose timers are slow, misses nothing', async (t) => {
  const page = await open(t, 'emma');
  const before = scene.logins('emma');
  await hidden(page, async () => {
    for (let round = 0; round < 6; round += 1) await hears(page, scene.bob.tell(page.jid, 3));
  });
  await shows(page);
  assert.equal(scene.logins('emma'), before);
});
