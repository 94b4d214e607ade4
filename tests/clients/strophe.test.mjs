// Strophe on a page in Chromium, in one tab or two, without network, hidden, and loaded again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, hidden, setOffline } from './browser.mjs';
import { everybody, friend } from './friend.mjs';
import { Site, domain, until } from './support.mjs';

/** One for each test, whose sessions are nobody else's. */
const WOMEN = ['anna', 'berta', 'clara', 'dora', 'emma', 'frida', 'greta'];
let site;
let browser;
let bob;

before(async () => {
  site = await Site.start({
    bosh: 'wait = "4s"\ninactivity = "5s"',
    users: everybody(WOMEN),
  });
  browser = await Browser.start(site, {
    '/': 'tests/clients/page/strophe.html',
    '/page.js': 'tests/clients/page/strophe.js',
    '/strophe.js': 'tests/clients/node_modules/strophe.js/dist/strophe.umd.min.js',
  });
  bob = await friend(site, 'bob');
});

after(async () => {
  await browser?.stop();
  bob?.disconnect();
  await site?.stop();
});

const parameters = (user) => ({ url: site.url, jid: `${user}@${domain}`, password: site.password(user) });
const state = (page) => page.evaluate(() => window.app);

/** Waits for something in the page, hidden or not. */
const when = (page, probe, argument) => until(
  () => page.evaluate(probe, argument), () => `${probe} with ${argument}`);

/** A tab with somebody logged in; `jid` is that of the session. */
async function open(t, user) {
  const page = await browser.open(parameters(user));
  t.after(() => page.close());
  await when(page, () => window.app?.online.some((from) => from.startsWith('bob@')));
  await when(page, () => 'bob@example.org' in window.app.roster);
  const { jid } = await state(page);
  await until(() => bob.online.has(jid), `Bob to see ${jid}`);
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

/** Waits for the end of a session. */
async function gone(jid) {
  await until(() => !bob.online.has(jid), `Bob to see ${jid} go`);
}

test('login, the backend\'s list, presence, chat both ways, a push', async (t) => {
  const page = await open(t, 'anna');
  assert.deepEqual((await state(page)).roster, { 'bob@example.org': 'Bob <3' });
  await hears(page, bob.tell(page.jid, 20));
  const said = Array.from({ length: 20 }, (_, number) => `hello ${number}`);
  await page.evaluate(([to, texts]) => window.app.say(to, texts), [bob.jid, said]);
  await until(() => bob.heard.includes(said.at(-1)), 'Bob to hear');
  assert.deepEqual(bob.heard.slice(-said.length), said);
  await site.change('anna', { 'bob@example.org': { name: 'Robert' }, 'carol@example.org': {} });
  await when(page, () => 'carol@example.org' in window.app.roster);
  assert.equal((await state(page)).roster['bob@example.org'], 'Robert');
});

test('a reload in time goes on with the session and loses nothing', async (t) => {
  const page = await open(t, 'berta');
  for (let round = 0; round < 3; round += 1) {
    const texts = bob.tell(page.jid, 5);
    const reload = page.reload();
    texts.push(...bob.tell(page.jid, 5));
    await reload;
    texts.push(...bob.tell(page.jid, 5));
    await hearsAll(page, texts);
    const { states, sessions, jid } = await state(page);
    assert.deepEqual([states, sessions, jid], [['ATTACHED'], 0, page.jid]);
  }
  await site.change('berta', { 'bob@example.org': { name: 'Bobby' } });
  await when(page, () => window.app.roster['bob@example.org'] === 'Bobby');
});

test('a reload too late logs in again, and hears what was said meanwhile', async (t) => {
  const page = await open(t, 'clara');
  await page.goto('about:blank');
  await gone(page.jid);
  const texts = bob.tell(`clara@${domain}`, 5);
  await page.goto(`${browser.url}?${new URLSearchParams(parameters('clara'))}`);
  await hears(page, texts);
  const { states, sessions } = await state(page);
  assert.equal(sessions, 1, `${states}`);
  assert.match(states.join(), /item-not-found/, 'the page hears why');
});

test('two tabs have a session each', async (t) => {
  const one = await open(t, 'dora');
  const two = await open(t, 'dora');
  assert.notEqual(one.jid, two.jid);
  await site.change('dora', { 'bob@example.org': { name: 'Bob of two' } });
  for (const page of [one, two]) {
    await when(page, () => window.app.roster['bob@example.org'] === 'Bob of two');
  }
  await hears(one, bob.tell(one.jid, 3));
  await hears(two, bob.tell(two.jid, 3));
  await two.close();
  await gone(two.jid);
  await hears(one, bob.tell(one.jid, 3));
  await one.reload();
  await hears(one, bob.tell(one.jid, 3));
  assert.equal((await state(one)).sessions, 0);
});

test('a short time without network ends no session', async (t) => {
  const page = await open(t, 'emma');
  const noticed = page.waitForEvent('requestfailed');
  await setOffline(page, true);
  const texts = bob.tell(page.jid, 5);
  await page.evaluate((to) => window.app.say(to, ['said offline']), bob.jid);
  await noticed;
  await setOffline(page, false);
  await hearsAll(page, texts);
  await until(() => bob.heard.includes('said offline'), 'Bob to hear');
  assert.equal(bob.heard.filter((text) => text === 'said offline').length, 1);
  assert.equal((await state(page)).sessions, 1);
});

test('a long time without network: a new session hears what was said meanwhile', async (t) => {
  const page = await open(t, 'frida');
  await setOffline(page, true);
  const first = bob.tell(page.jid, 2);
  await gone(page.jid);
  const texts = [...first, ...bob.tell(`frida@${domain}`, 3)];
  await setOffline(page, false);
  await hearsAll(page, texts);
  assert.ok((await state(page)).sessions > 1);
});

test('a hidden tab, whose timers are slow, misses nothing', async (t) => {
  const page = await open(t, 'greta');
  const texts = await hidden(page, async () => {
    const all = [];
    for (let round = 0; round < 6; round += 1) {
      const some = bob.tell(page.jid, 3);
      await hears(page, some);
      all.push(...some);
    }
    return all;
  });
  await hears(page, texts);
  assert.equal((await state(page)).sessions, 1);
});
