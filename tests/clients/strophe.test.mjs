// Strophe on a page in Chromium, in one tab or two, without network, hidden, and loaded again.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as stanza from 'stanza';

import { Browser, hidden, setOffline } from './browser.mjs';
import { Site, domain, until } from './support.mjs';

let site;
let browser;
let bob;

before(async () => {
  site = await Site.start({
    bosh: 'wait = "4s"\ninactivity = "5s"',
    users: {
      alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'] } },
      bob: { 'alice@example.org': { name: 'Alice' } },
    },
  });
  browser = await Browser.start(site, {
    '/': 'tests/clients/page/strophe.html',
    '/page.js': 'tests/clients/page/strophe.js',
    '/strophe.js': 'tests/clients/node_modules/strophe.js/dist/strophe.umd.min.js',
  });
  bob = stanza.createClient({
    jid: `bob@${domain}`, password: site.password('bob'), transports: { bosh: site.url, websocket: false },
  });
  bob.heard = [];
  bob.online = new Set();
  bob.on('message', (message) => bob.heard.push(message.body));
  bob.on('available', ({ from }) => bob.online.add(from));
  bob.on('unavailable', ({ from }) => bob.online.delete(from));
  const started = new Promise((done) => { bob.on('session:started', done); });
  bob.connect();
  await started;
  await bob.getRoster();
  bob.sendPresence();
});

after(async () => {
  await browser?.stop();
  bob?.disconnect();
  await site?.stop();
});

const parameters = () => ({ url: site.url, jid: `alice@${domain}`, password: site.password('alice') });
const state = (page) => page.evaluate(() => window.app);

/** Waits for something in the page, hidden or not. */
const when = (page, probe, argument) => until(
  () => page.evaluate(probe, argument), () => `${probe} with ${argument}`);

/** A tab of Alice's, logged in. */
async function open() {
  const page = await browser.open(parameters());
  await when(page, () => window.app?.online.some((from) => from.startsWith('bob@')));
  await when(page, () => 'bob@example.org' in window.app.roster);
  const { jid } = await state(page);
  await until(() => bob.online.has(jid), 'Bob to see Alice');
  return Object.assign(page, { jid });
}

let told = 0;
/** Bob writes so many messages; gives their texts. */
function tell(to, count) {
  const texts = Array.from({ length: count }, () => `message ${told += 1} & <more>`);
  for (const body of texts) bob.sendMessage({ to, type: 'chat', body });
  return texts;
}

async function hears(page, texts) {
  await when(page, (last) => window.app?.heard.includes(last), texts.at(-1));
  const { heard } = await state(page);
  assert.deepEqual(heard.slice(-texts.length), texts);
  assert.equal(new Set(heard).size, heard.length, 'nothing twice');
}

/** What Bob says in two sessions of Alice's; what was shown of the first may come again. */
async function hearsAll(page, texts) {
  await when(page, (all) => all.every((text) => window.app?.heard.includes(text)), texts);
  const { heard } = await state(page);
  const first = heard.filter((text, index) => heard.indexOf(text) === index);
  assert.deepEqual(first.slice(-texts.length), texts, 'in order');
}

/** Alice's last session has ended at the gateway. */
async function gone(page) {
  const sessions = () => site.gateway.output().match(/session ended/g)?.length ?? 0;
  const ended = sessions();
  await until(() => sessions() > ended, 'the session to end');
  await until(() => !bob.online.has(page.jid), 'Bob to see Alice go');
}

test('login, the backend\'s list, presence, chat both ways, a push', async () => {
  const page = await open();
  assert.deepEqual((await state(page)).roster, { 'bob@example.org': 'Bob <3' });
  await hears(page, tell(page.jid, 20));
  const said = Array.from({ length: 20 }, (_, number) => `hello ${number}`);
  await page.evaluate(([to, texts]) => window.app.say(to, texts), [bob.jid, said]);
  await until(() => bob.heard.includes(said.at(-1)), 'Bob to hear');
  assert.deepEqual(bob.heard.slice(-said.length), said);
  await site.change('alice', { 'bob@example.org': { name: 'Robert' }, 'carol@example.org': {} });
  await when(page, () => 'carol@example.org' in window.app.roster);
  assert.equal((await state(page)).roster['bob@example.org'], 'Robert');
  await page.close();
});

test('a reload in time goes on with the session and loses nothing', async () => {
  const page = await open();
  for (let round = 0; round < 3; round += 1) {
    const texts = tell(page.jid, 5);
    const reload = page.reload();
    texts.push(...tell(page.jid, 5));
    await reload;
    texts.push(...tell(page.jid, 5));
    await hearsAll(page, texts);
    const { states, sessions, jid } = await state(page);
    assert.deepEqual([states, sessions, jid], [['ATTACHED'], 0, page.jid]);
  }
  await site.change('alice', { 'bob@example.org': { name: 'Bobby' } });
  await when(page, () => window.app.roster['bob@example.org'] === 'Bobby');
  await page.close();
});

test('a reload too late logs in again, and hears what was said meanwhile', async () => {
  const page = await open();
  await page.goto('about:blank');
  await gone(page);
  const texts = tell(`alice@${domain}`, 5);
  await page.goto(`${browser.url}?${new URLSearchParams(parameters())}`);
  await hears(page, texts);
  const { states, sessions } = await state(page);
  assert.equal(sessions, 1, `${states}`);
  assert.match(states.join(), /item-not-found/, 'the page hears why');
  await page.close();
});

test('two tabs have a session each', async () => {
  const one = await open();
  const two = await open();
  assert.notEqual(one.jid, two.jid);
  await site.change('alice', { 'bob@example.org': { name: 'Bob of two' } });
  for (const page of [one, two]) {
    await when(page, () => window.app.roster['bob@example.org'] === 'Bob of two');
  }
  await hears(one, tell(one.jid, 3));
  await hears(two, tell(two.jid, 3));
  await two.close();
  await gone(two);
  await hears(one, tell(one.jid, 3));
  await one.reload();
  await hears(one, tell(one.jid, 3));
  assert.equal((await state(one)).sessions, 0);
  await one.close();
});

test('a short time without network ends no session', async () => {
  const page = await open();
  const noticed = page.waitForEvent('requestfailed');
  await setOffline(page, true);
  const texts = tell(page.jid, 5);
  await page.evaluate((to) => window.app.say(to, ['said offline']), bob.jid);
  await noticed;
  await setOffline(page, false);
  await hearsAll(page, texts);
  await until(() => bob.heard.includes('said offline'), 'Bob to hear');
  assert.equal(bob.heard.filter((text) => text === 'said offline').length, 1);
  assert.equal((await state(page)).sessions, 1);
  await page.close();
});

test('a long time without network: a new session hears what was said meanwhile', async () => {
  const page = await open();
  await setOffline(page, true);
  const first = tell(page.jid, 2);
  await gone(page);
  const texts = [...first, ...tell(`alice@${domain}`, 3)];
  await setOffline(page, false);
  await hearsAll(page, texts);
  assert.ok((await state(page)).sessions > 1);
  await page.close();
});

test('a hidden tab, whose timers are slow, misses nothing', async () => {
  const page = await open();
  const texts = await hidden(page, async () => {
    const all = [];
    for (let round = 0; round < 6; round += 1) {
      const some = tell(page.jid, 3);
      await hears(page, some);
      all.push(...some);
    }
    return all;
  });
  await hears(page, texts);
  assert.equal((await state(page)).sessions, 1);
  await page.close();
});
