// The status page, in Chromium. A picture of it is left in target/status.png (`make pictures`).

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Browser } from '../clients/browser.mjs';
import { Site, domain, root } from '../clients/support.mjs';
import { brokenWords, faintTexts, overflow } from './looks.mjs';

const HTTPBIND = "xmlns='http://jabber.org/protocol/httpbind'";
const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';

/** Logs a user in over BOSH, by hand, and asks for the roster; gives what sends more. */
async function login(site, user) {
  let rid = 1000;
  let sid = '';
  const send = async (attributes, payload = '') => {
    const session = sid && `sid='${sid}'`;
    const response = await fetch(site.url, {
      method: 'POST',
      body: `<body ${HTTPBIND} rid='${rid}' ${session} ${attributes}>${payload}</body>`,
    });
    rid += 1;
    assert.equal(response.status, 200);
    return response.text();
  };
  const created = await send(`to='${domain}' wait='5' hold='1' ver='1.6' xml:lang='en'
    xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'`);
  sid = / sid=["']([0-9a-f]+)/.exec(created)[1];
  const plain = Buffer.from(`\0${user}\0${site.password(user)}`).toString('base64');
  assert.match(await send('', `<auth xmlns='${SASL}' mechanism='PLAIN'>${plain}</auth>`), /<success/);
  await send(`to='${domain}' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'`);
  const iq = (type, id, payload) => send('', `<iq xmlns='jabber:client' type='${type}' id='${id}'>${payload}</iq>`);
  await iq('set', 'bind', "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
  assert.match(await iq('get', 'roster', "<query xmlns='jabber:iq:roster'/>"), /id=["']roster["']/);
  return send;
}

/** The page, and all that it complained of. */
async function open(site, browser) {
  const page = await browser.context.newPage();
  page.setDefaultTimeout(20_000);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') page.complaints.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${site.port}/roster_admin`);
  return page;
}

/** Waits until an element says this. */
async function says(page, id, text) {
  await page.waitForFunction(([name, expected]) => (
    document.getElementById(name).innerText.trim().match(new RegExp(expected))
  ), [id, text]);
}

/** What a curve says in words, once it says what is expected. */
async function curve(page, key, expected) {
  await page.waitForFunction(([name, wanted]) => {
    const svg = document.querySelector(`#curves [data-key=${name}] svg`);
    const [title, desc] = svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id));
    const words = `${title.textContent}: ${desc.textContent}`;
    return svg.getAttribute('role') === 'img' && words.match(new RegExp(wanted));
  }, [key, expected]);
}

const BUSY = {
  sessions: Array.from({ length: 61 }, (_, i) => Math.round(420 + i * 1.3 + 40 * Math.sin(i / 9))),
  messages: Array.from({ length: 61 }, (_, i) => Math.round(180 + 90 * Math.sin(i / 5) + 60 * Math.sin(i * 1.9))),
  refreshed: Array.from({ length: 61 }, (_, i) => Math.round(6 + 5 * Math.sin(i * 2.1))),
  failures: Array.from({ length: 61 }, (_, i) => (i > 32 && i < 37 ? 4 : 0)),
  answer: Array.from({ length: 61 }, (_, i) => 11 + 3 * Math.sin(i) + (i > 30 && i < 37 ? 160 : 0)),
};

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const LONG = `${'x'.repeat(60)}.${'y'.repeat(60)}.example.org`;
const RIGHT_TO_LEFT = 'دانيال-العربي';

/** A gateway with a lot to tell: many hosts, failures and names, long ones and such that run from right to left. */
function much(status) {
  const health = (works, last_worked = works ? ago(5) : null) => ({ works, last_worked });
  const name = (i) => (i % 10 === 3 ? LONG : `site-number-${i}.example.org`);
  const host = (i) => ({
    ...status.hosts[0],
    domain: i % 10 === 7 ? `${RIGHT_TO_LEFT}.example` : name(i),
    backend: health(i % 3 !== 0, i % 3 === 0 ? ago(4000) : ago(3)),
    upstream: i === 20 ? health(false) : health(true),
    rosters: i % 2 ? 'server' : 'gateway',
    writer: health(i % 2 ? i !== 5 : null),
    unwritten_rosters: i === 5 ? 12_345 : 0,
    events: health(i % 4 === 0 ? true : null),
    pending_events: i % 4 === 0 ? 77 : 0,
    stale_rosters: i * 1000,
  });
  const failure = (i) => ({
    domain: name(i),
    part: ['backend', 'upstream', 'writer', 'events'][i % 4],
    error: i % 7 === 2
      ? `certificate of ${LONG} does not match, and more of that: ${'abcdef0123456789'.repeat(12)}`
      : `backend answered ${500 + i} Internal Server Error, where a JSON object was expected`,
    count: i % 2 ? 1 : 200 + i,
    first: ago(90_000),
    last: ago(i * 30),
    users: i % 4 === 0 ? [RIGHT_TO_LEFT, `user-with-a-long-name-${i}`, 'x'.repeat(300)] : [],
  });
  const incomplete = (i) => ({
    at: ago(i * 100),
    jid: `${i % 5 === 1 ? RIGHT_TO_LEFT : `user${i}`}@${name(i)}`,
    left_out: i + 1,
    contacts: '"a b@example.org" (not a JID), "<b>pending</b>" (not a JID), and more',
  });
  const gateway = (i) => ({
    name: i % 5 === 1 ? 'abcdefghijklmnop' : `node${i}`,
    answers: i % 4 !== 3,
    version: i % 6 === 3 ? null : '0.1.0',
    started: i % 6 === 3 ? null : ago(i * 5000),
    draining: i % 4 === 3 ? null : i === 2,
    sessions: i % 6 === 3 ? null : 12_345,
    reason: i % 4 === 3 ? `gateway node${i} did not answer` : undefined,
  });
  const times = (count, make) => Array.from({ length: count }, (_, i) => make(i));
  return {
    ...status,
    sessions: { ...status.sessions, total: 49_321, bound: 48_999, bosh: 12_000, websocket: 37_321 },
    sessions_ever: 12_345_678,
    pushes: 123_456_789,
    hosts: times(30, host),
    failures: times(50, failure),
    gateways: times(30, gateway),
    incomplete: ['what other gateways have is not known: NATS is away'],
    incomplete_rosters: times(50, incomplete),
    last_hour: BUSY,
  };
}

/** Has the page told something else than what the gateway says; `change` makes it of that. */
async function stage(page, change) {
  await page.route('**/roster_admin/status', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: change(await response.json()) });
  });
  await page.reload();
}

async function close(page) {
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await page.close();
}

const users = { alice: { 'bob@example.org': {} }, bob: {} };

describe('on this machine', () => {
  let site;
  let browser;
  before(async () => {
    site = await Site.start({ users: { ...users } });
    browser = await Browser.start(site, {}, { visible: true });
  });
  after(async () => {
    await browser?.stop();
    await site?.stop();
  });

  test('shows what happens, while it happens', async () => {
    const page = await open(site, browser);
    await says(page, 'state', '^Running for ');
    await says(page, 'bound', '^0$');
    await says(page, 'hosts', `^${domain}\\s+not needed yet\\s+not needed yet$`);
    assert.equal(await page.isVisible('#login'), false);
    for (const table of ['failures', 'incomplete']) await says(page, table, '^none$');
    await curve(page, 'messages', '^Messages a minute: the first minute: 0 last, at most 0$');
    await curve(page, 'answer', '^Time your site takes to answer: the first minute: – last, not asked$');

    const send = await login(site, 'alice');
    await says(page, 'bound', '^1$');
    await says(page, 'interested', '^1$');
    await says(page, 'bosh', '^1$');
    await says(page, 'websocket', '^0$');
    const other = await open(site, browser);
    await other.evaluate((to) => {
      const socket = new WebSocket(`ws://${location.host}/xmpp-websocket`, 'xmpp');
      socket.onopen = () => {
        socket.send(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='${to}' version='1.0'/>`);
      };
    }, domain);
    await says(page, 'websocket', '^1$');
    await says(page, 'coming', '^1$');
    await other.close();
    await says(page, 'websocket', '^0$');
    await says(page, 'hosts', `^${domain}\\s+works\\s+works$`);
    await site.change('alice', { 'bob@example.org': { name: 'Bob' }, 'carol@example.org': {} });
    await says(page, 'updated', '^1$');
    await says(page, 'pushes', '^2$');
    await says(page, 'last', ' ago$');
    await curve(page, 'sessions', '^Chats: .*[12] last, at most [12]$');
    await curve(page, 'answer', 'last, at most .* ms$');

    // Who cannot be on a list is named, with the reason, until the list is good.
    await site.change('alice', { 'bob@example.org': {}, 'a b@example.org': {}, '<b>pending</b>': {} });
    const leftOut = '"a b@example.org" \\(not a JID\\), "<b>pending</b>" \\(not a JID\\)';
    await says(page, 'incomplete', `\\salice@${domain}\\s+2\\s+${leftOut}$`);
    await site.change('alice', { 'bob@example.org': {}, 'carol@example.org': {} });
    await says(page, 'incomplete', '^none$');

    // The backend knows her no more. What fails twice in the same way is told once.
    delete site.users.alice;
    const refused = () => fetch(`http://127.0.0.1:${site.port}/roster_admin/refresh/alice`);
    await refused();
    await says(page, 'failed', '^1$');
    await says(page, 'hosts', `^${domain}\\s+fails\\s+worked \\d+ .* ago\\s+works$`);
    const what = `contact lists from your site\\s+${domain}\\s+backend answered 404`;
    await says(page, 'failures', `${what}\\s+for alice$`);
    await refused();
    await says(page, 'failures', `\\s2 times since [^\n]*\\s+${what}\\s+last for alice$`);
    assert.equal(await page.locator('#failures tr').count(), 1);

    await send("type='terminate'");
    await says(page, 'ending', '^1$');
    assert.deepEqual(page.complaints, []);
    await site.gateway.stop();
    await says(page, 'state', '^No answer from the gateway. Below is what it said last.$');
    assert.equal(await page.isVisible('#main'), true);
    await page.close();
  });
});

describe('however much there is to tell', () => {
  let site;
  let browser;
  before(async () => {
    site = await Site.start({ users: { ...users } });
    browser = await Browser.start(site, {}, { visible: true });
  });
  after(async () => {
    await browser?.stop();
    await site?.stop();
  });

  const nothing = (status) => status;
  for (const width of [390, 1280]) {
    for (const colorScheme of ['light', 'dark']) {
      for (const change of [nothing, much]) {
        test(`${change.name} fits and can be read, ${colorScheme}, ${width} px wide`, async () => {
          const page = await open(site, browser);
          await page.emulateMedia({ colorScheme });
          await page.setViewportSize({ width, height: 844 });
          await stage(page, change);
          await says(page, 'state', '^Running for ');
          const fits = async () => {
            assert.equal(await overflow(page), 0);
            assert.deepEqual(await faintTexts(page), []);
            assert.deepEqual(await brokenWords(page, 'main'), []);
          };
          await fits();
          const height = await page.evaluate(() => document.documentElement.scrollHeight);
          assert.ok(height < 8000, `${height} px`);
          const more = page.locator('button[id^=more-]:visible');
          for (const id of await more.evaluateAll((buttons) => buttons.map((button) => button.id))) {
            await page.click(`#${id}`);
            await page.locator(`#${id}`, { hasText: 'Show fewer' }).waitFor();
          }
          await fits();
          if (change === much) assert.equal(await page.locator('#failures tr').count(), 50);
          assert.deepEqual(page.complaints, []);
          await close(page);
        });
      }
    }
  }

  test('what has never worked is told, and comes first', async () => {
    const page = await open(site, browser);
    await stage(page, (status) => {
      const [host] = status.hosts;
      const fails = (last_worked) => ({ works: false, last_worked });
      return {
        ...status,
        hosts: [
          { ...host, domain: 'quiet.example' },
          { ...host, domain: 'new.example', upstream: fails(null) },
          { ...host, domain: 'old.example', upstream: fails(ago(7300)) },
        ],
      };
    });
    await says(page, 'hosts', '^new.example\\s+not needed yet\\s+has never worked\\s+'
      + 'old.example\\s+not needed yet\\s+fails\\s+worked 2 hours ago\\s+quiet.example');
    await close(page);
  });

  test('gateways are shown where there are several, those that do not answer first', async () => {
    const page = await open(site, browser);
    await says(page, 'state', '^Running for ');
    assert.equal(await page.isVisible('#cluster'), false, 'it is alone');
    const one = { answers: true, version: '0.1.0', started: ago(7300), draining: false, sessions: 1234 };
    await stage(page, (status) => ({
      ...status,
      gateways: [
        { ...one, name: 'a' },
        { ...one, name: 'b', answers: false, draining: null, sessions: null, reason: 'not heard for 75 s' },
        { ...one, name: 'c', draining: true },
      ],
      incomplete: ['gateway d did not answer', 'not heard for 75 s'],
    }));
    const since = '2 hours\\s+since .*';
    await says(page, 'gateways', `^b\\s+does not answer\\s+not heard for 75 s\\s+${since}\\s+0.1.0\\s+`
      + `a\\s+answers\\s+1,234\\s+${since}\\s+0.1.0\\s+c\\s+going down\\s+1,234\\s+${since}\\s+0.1.0$`);
    await says(page, 'unknown', '^gateway d did not answer$');
    await says(page, 'own', '^a$');
    await close(page);
  });

  test('the last hour is drawn, with what it was last and at most', async () => {
    const page = await open(site, browser);
    await stage(page, (status) => ({
      ...status,
      last_hour: {
        sessions: [1, 5, 3], messages: [0, 40, 7], refreshed: [2, 2, 0], failures: [0, 3, 0], answer: [12.34, null, null],
      },
    }));
    await curve(page, 'sessions', '^Chats: the last 3 minutes: 3 last, at most 5$');
    await curve(page, 'messages', '^Messages a minute: the last 2 minutes: 40 last, at most 40$');
    await curve(page, 'failures', ': 3 last, at most 3$');
    await curve(page, 'answer', ': – last, at most 12 ms$');
    const points = (key) => page.locator(`[data-key=${key}] .line`).getAttribute('d');
    assert.equal(await points('sessions'), 'M58,24.00L59,0.00L60,12.00');
    assert.equal(await points('messages'), 'M59,30.00L60,0.00');
    assert.equal(await points('answer'), 'M59,0.00h0', 'it was asked in one minute');
    await close(page);
  });

  test('a picture of it', async () => {
    const page = await open(site, browser);
    const send = await login(site, 'alice');
    await stage(page, (status) => ({
      ...status,
      started: ago(9 * 86_400),
      sessions: { ...status.sessions, total: 486, bound: 471, asleep: 15, bosh: 38, websocket: 448, interested: 486 },
      sessions_ever: 20_117,
      held_requests: 41,
      pushes: 5_208,
      refreshes: { updated: 3_127, failed: 20, last: ago(12) },
      failures: [{
        domain, part: 'backend', error: 'backend answered 502 (text/html)', count: 16, first: ago(1_860), last: ago(1_500),
        users: ['john', 'marie', 'aaron'],
      }],
      last_hour: BUSY,
    }));
    await says(page, 'hosts', `^${domain}\\s+works`);
    await page.setViewportSize({ width: 900, height: 820 });
    const picture = await page.screenshot();
    mkdirSync(join(root, 'target'), { recursive: true });
    writeFileSync(join(root, 'target/status.png'), picture);
    assert.ok(picture.length > 20_000, `${picture.length} bytes are an empty page`);
    await send("type='terminate'");
    await close(page);
  });
});

describe('with a token', () => {
  let site;
  let browser;
  before(async () => {
    site = await Site.start({ users, admin: 'token = "sesame-sesame"' });
    browser = await Browser.start(site, {}, { visible: true });
  });
  after(async () => {
    await browser?.stop();
    await site?.stop();
  });

  test('asks for it, and keeps it in the tab', async () => {
    const page = await open(site, browser);
    await page.waitForSelector('#login', { state: 'visible' });
    assert.equal(await page.isVisible('#main'), false);
    await says(page, 'state', '^Please show the admin token.$');
    const red = () => page.evaluate(() => [...document.querySelectorAll('header *, #login *')].filter((element) => {
      const style = getComputedStyle(element);
      const isRed = (color) => { const [r, g, b] = color.match(/\d+/g).map(Number); return r > g + 60 && r > b + 60; };
      return isRed(style.color) || isRed(style.borderTopColor) || isRed(style.outlineColor);
    }).length);
    assert.equal(await red(), 0, 'nothing was wrong yet');
    await page.fill('#token', 'wrong');
    await page.click('#login button');
    await says(page, 'state', '^That is not the admin token.$');
    assert.equal(await red(), 1);
    await page.waitForSelector('#login', { state: 'visible' });
    await page.fill('#token', 'sesame-sesame');
    await page.click('#login button');
    await says(page, 'state', '^Running for ');
    assert.equal(await page.isVisible('#login'), false);
    await page.reload();
    await says(page, 'state', '^Running for ');
    assert.equal(await page.isVisible('#main'), true);
    await page.close();
  });
});
