// Strophe on a page in Chromium, in one tab or two, without network, hidden, and loaded again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { hidden, setOffline } from './browser.mjs';
import { Scene } from './scene.mjs';
import { domain, until } from './support.mjs';

/** One for each test, whose sessions are nobody else's. */
const WOMEN = ['anna', 'berta', 'clara', 'dora', 'emma', 'frida', 'greta'];
let scene;

before(async () => {
  scene = await Scene.start(WOMEN, {
    '/': 'tests/clients/page/strophe.html',
    '/page.js': 'tests/clients/page/strophe.js',
    '/strophe.js': 'tests/clients/node_modules/strophe.js/dist/strophe.umd.min.js',
  });
});

after(() => scene?.stop());

const state = (page) => page.evaluate(() => window.app);

/** Waits for something in the page, hidden or not. */
const when = (page, probe, argument) => until(
  () => page.evaluate(probe, argument), () => `${probe} with ${argument}`);

/** A tab with somebody logged in; `jid` is that of the session. */
async function open(t, user, more) {
  const page = await scene.open(t, user, '', more);
  await when(page, () => window.app?.online.some((from) => from.startsWith('bob@')));
  await when(page, () => 'bob@example.org' in window.app.roster);
  const { jid } = await state(page);
  await scene.comes(jid);
  return Object.assign(page, { jid });
}

async function hears(page, texts) {
  await when(page, (last) => window.app?.heard.includes(last), texts.at(-1));
  const { heard } = await state(page);
  assert.deepEqual(heard.slice(-texts.length), texts);
  assert.equal(new Set(heard).size, heard.length, 'nothing twice');
}

/** What Bob says to two sessions, one after the other; what the first was shown may come again. */
async function hearsAll(page, texts) {
  await when(page, (all) => all.every((text) => window.app?.heard.includes(text)), texts);
  const { heard } = await state(page);
  const first = heard.filter((text, index) => heard.indexOf(text) === index);
  assert.deepEqual(first.slice(-texts.length), texts, 'in order');
}

test('login, the backend\'s list, presence, chat both ways, a push', async (t) => {
  const page = await open(t, 'anna');
  assert.deepEqual((await state(page)).roster, { 'bob@example.org': 'Bob <3' });
  await hears(page, scene.bob.tell(page.jid, 20));
  const said = Array.from({ length: 20 }, (_, number) => `hello ${number}`);
  await page.evaluate(([to, texts]) => window.app.say(to, texts), [scene.bob.jid, said]);
  await until(() => scene.bob.heard.includes(said.at(-1)), 'Bob to hear');
  assert.deepEqual(scene.bob.heard.slice(-said.length), said);
  await scene.site.change('anna', { 'bob@example.org': { name: 'Robert' }, 'carol@example.org': {} });
  await when(page, () => 'carol@example.org' in window.app.roster);
  assert.equal((await state(page)).roster['bob@example.org'], 'Robert');
});

test('a reload in time goes on with the session and loses nothing', async (t) => {
  // What a page is sent as it is left is for the next one, if pages say who they are.
  const page = await open(t, 'berta', { named: 'yes' });
  for (let round = 0; round < 3; round += 1) {
    const texts = scene.bob.tell(page.jid, 5);
    const reload = page.reload();
    texts.push(...scene.bob.tell(page.jid, 5));
    await reload;
    texts.push(...scene.bob.tell(page.jid, 5));
    await hearsAll(page, texts);
    const { states, sessions, jid } = await state(page);
    assert.deepEqual([states, sessions, jid], [['ATTACHED'], 0, page.jid]);
  }
  await scene.site.change('berta', { 'bob@example.org': { name: 'Bobby' } });
  await when(page, () => window.app.roster['bob@example.org'] === 'Bobby');
});

test('a reload too late logs in again, and hears what was said meanwhile', async (t) => {
  const page = await open(t, 'clara');
  await page.goto('about:blank');
  await scene.goes(page.jid);
  const texts = scene.bob.tell(`clara@${domain}`, 5);
  await scene.reopen(page, 'clara');
  await hears(page, texts);
  const { states, sessions } = await state(page);
  assert.equal(sessions, 1, `${states}`);
  assert.match(states.join(), /item-not-found/, 'the page hears why');
});

test('two tabs have a session each', async (t) => {
  const one = await open(t, 'dora');
  const two = await open(t, 'dora');
  assert.notEqual(one.jid, two.jid);
  await scene.site.change('dora', { 'bob@example.org': { name: 'Bob of two' } });
  for (const page of [one, two]) {
    await when(page, () => window.app.roster['bob@example.org'] === 'Bob of two');
  }
  await hears(one, scene.bob.tell(one.jid, 3));
  await hears(two, scene.bob.tell(two.jid, 3));
  await two.close();
  await scene.goes(two.jid);
  await hears(one, scene.bob.tell(one.jid, 3));
  await one.reload();
  await hears(one, scene.bob.tell(one.jid, 3));
  assert.equal((await state(one)).sessions, 0);
});

test('a short time without network ends no session', async (t) => {
  const page = await open(t, 'emma');
  const noticed = page.waitForEvent('requestfailed');
  await setOffline(page, true);
  const texts = scene.bob.tell(page.jid, 5);
  await page.evaluate((to) => window.app.say(to, ['said offline']), scene.bob.jid);
  await noticed;
  await setOffline(page, false);
  await hearsAll(page, texts);
  await until(() => scene.bob.heard.includes('said offline'), 'Bob to hear');
  assert.equal(scene.bob.heard.filter((text) => text === 'said offline').length, 1);
  assert.equal((await state(page)).sessions, 1);
});

test('a long time without network: a new session hears what was said meanwhile', async (t) => {
  const page = await open(t, 'frida');
  await setOffline(page, true);
  const first = scene.bob.tell(page.jid, 2);
  await scene.goes(page.jid);
  const texts = [...first, ...scene.bob.tell(`frida@${domain}`, 3)];
  await setOffline(page, false);
  await hearsAll(page, texts);
  assert.ok((await state(page)).sessions > 1);
});

test('a hidden tab, whose timers are slow, misses nothing', async (t) => {
  const page = await open(t, 'greta');
  const texts = await hidden(page, async () => {
    const all = [];
    for (let round = 0; round < 6; round += 1) {
      const some = scene.bob.tell(page.jid, 3);
      await hears(page, some);
      all.push(...some);
    }
    return all;
  });
  await hears(page, texts);
  assert.equal((await state(page)).sessions, 1);
});
