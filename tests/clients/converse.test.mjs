// Converse.js in Chromium: what the test of the demo page leaves out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, hidden, setOffline } from './browser.mjs';
import { friend } from './friend.mjs';
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
    '/': 'tests/clients/page/converse.html',
    '/page.js': 'tests/clients/page/converse.js',
    '/converse/': 'demo/node_modules/converse.js/dist',
  });
  bob = await friend(site, 'bob');
});

after(async () => {
  await browser?.stop();
  bob?.disconnect();
  await site?.stop();
});

const parameters = () => ({ url: site.url, jid: `alice@${domain}`, password: site.password('alice') });
/** How often Alice has logged in. */
const logins = () => site.gateway.output().match(/session bound.*alice@/g)?.length ?? 0;

/** Waits until the page shows Bob, online. */
async function shows(page) {
  await page.bringToFront();
  await page.locator('li.list-item[data-status=online] a.open-chat[data-jid="bob@example.org"]').waitFor();
}

/** A tab of Alice's, logged in; `jid` is that of its session. */
async function open() {
  const page = await browser.open(parameters());
  await shows(page);
  return follow(page);
}

async function follow(page) {
  const jid = await page.evaluate(() => window.api.connection.get().jid);
  await until(() => bob.online.has(jid), 'Bob to see Alice');
  return Object.assign(page, { jid });
}

/** What Bob has said, as Converse.js keeps it. */
const heard = (page) => page.evaluate(async () => {
  const chat = await window.api?.chats.get('bob@example.org');
  return chat?.messages?.map((message) => message.get('body')) ?? [];
});

async function hears(page, texts) {
  await until(async () => (await heard(page)).includes(texts.at(-1)), `Alice to hear ${texts.at(-1)}`);
  const bodies = (await heard(page)).filter((body) => texts.includes(body));
  assert.deepEqual(bodies, texts, 'each once, in order');
}

/** Waits for the end of a session. */
async function gone(jid) {
  await until(() => !bob.online.has(jid), 'Bob to see Alice go');
}

test('a reload too late logs in again, and hears what was said meanwhile', async () => {
  const page = await open();
  await hears(page, bob.tell(page.jid, 3));
  const before = logins();
  await page.goto('about:blank');
  await gone(page.jid);
  const texts = bob.tell(`alice@${domain}`, 5);
  await page.goto(`${browser.url}?${new URLSearchParams(parameters())}`);
  await hears(page, texts);
  await shows(page);
  assert.equal(logins(), before + 1);
  await follow(page);
  await page.evaluate(async () => (await window.api.chats.open('bob@example.org')).sendMessage({ body: 'back' }));
  await until(() => bob.heard.includes('back'), 'Bob to hear');
  await page.close();
});

test('two tabs have a session each', async () => {
  const one = await open();
  const two = await open();
  assert.notEqual(one.jid, two.jid);
  await site.change('alice', { 'bob@example.org': { name: 'Bob of two' } });
  for (const page of [one, two]) {
    await page.bringToFront();
    await page.locator('.contact-name', { hasText: 'Bob of two' }).waitFor();
  }
  await hears(one, bob.tell(one.jid, 3));
  await hears(two, bob.tell(two.jid, 3));
  await two.close();
  await gone(two.jid);
  await hears(one, bob.tell(one.jid, 3));
  const before = logins();
  await one.reload();
  await hears(one, bob.tell(one.jid, 3));
  assert.equal(logins(), before, 'the reload goes on with the session');
  await one.close();
});

test('a short time without network ends no session', async () => {
  const page = await open();
  const before = logins();
  const noticed = page.waitForEvent('requestfailed');
  await setOffline(page, true);
  const texts = bob.tell(page.jid, 5);
  await page.evaluate(async () => (await window.api.chats.open('bob@example.org')).sendMessage({ body: 'said offline' }));
  await noticed;
  await setOffline(page, false);
  await hears(page, texts);
  await until(() => bob.heard.includes('said offline'), 'Bob to hear');
  assert.equal(bob.heard.filter((text) => text === 'said offline').length, 1);
  assert.equal(logins(), before);
  await page.close();
});

test('a long time without network: a new session hears what was said meanwhile', async () => {
  const page = await open();
  const before = logins();
  await setOffline(page, true);
  const texts = bob.tell(page.jid, 2);
  await gone(page.jid);
  texts.push(...bob.tell(`alice@${domain}`, 3));
  await setOffline(page, false);
  await hears(page, texts);
  await shows(page);
  assert.equal(logins(), before + 1);
  await page.close();
});

test('a hidden tab, whose timers are slow, misses nothing', async () => {
  const page = await open();
  const before = logins();
  await hidden(page, async () => {
    for (let round = 0; round < 6; round += 1) await hears(page, bob.tell(page.jid, 3));
  });
  await shows(page);
  assert.equal(logins(), before);
  await page.close();
});
