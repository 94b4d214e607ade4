// The status page, in Chromium. A picture of it is left in target/status.png.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Browser } from '../clients/browser.mjs';
import { Site, domain, root } from '../clients/support.mjs';

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
    await says(page, 'state', '^serving, running for ');
    await says(page, 'bound', '^0$');
    await says(page, 'hosts', `^${domain}\\s+not needed yet\\s+not needed yet\\s+0$`);
    assert.equal(await page.isVisible('#login'), false);
    assert.equal(await page.isVisible('#none'), true);

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
    await says(page, 'hosts', `^${domain}\\s+works\\s+works\\s+0$`);
    await site.change('alice', { 'bob@example.org': { name: 'Bob' }, 'carol@example.org': {} });
    await says(page, 'updated', '^1$');
    await says(page, 'pushes', '^2$');
    await says(page, 'last', ' ago$');

    // Who cannot be on a list is named, with the reason, until the list is good.
    assert.equal(await page.isVisible('#complete'), true);
    await site.change('alice', { 'bob@example.org': {}, 'a b@example.org': {}, '<b>pending</b>': {} });
    const leftOut = '"a b@example.org" \\(not a JID\\), "<b>pending</b>" \\(not a JID\\)';
    await says(page, 'incomplete', `\\salice@${domain}\\s+2\\s+${leftOut}$`);
    assert.equal(await page.isVisible('#complete'), false);
    await site.change('alice', { 'bob@example.org': {}, 'carol@example.org': {} });
    await page.waitForSelector('#complete', { state: 'visible' });
    await says(page, 'incomplete', '^$');

    // The backend knows her no more.
    delete site.users.alice;
    await fetch(`http://127.0.0.1:${site.port}/roster_admin/refresh/alice`);
    await says(page, 'failed', '^1$');
    await says(page, 'hosts', `^${domain}\\s+fails\\s+works\\s+0$`);
    await says(page, 'failures', `\\s${domain}\\s+backend\\s+roster of alice: backend answered 404$`);
    assert.equal(await page.isVisible('#none'), false);
    await page.setViewportSize({ width: 900, height: 640 });
    const picture = await page.screenshot();
    mkdirSync(join(root, 'target'), { recursive: true });
    writeFileSync(join(root, 'target/status.png'), picture);
    assert.ok(picture.length > 20_000, `${picture.length} bytes are an empty page`);

    await send("type='terminate'");
    await says(page, 'ending', '^1$');
    assert.deepEqual(page.complaints, []);
    await site.gateway.stop();
    await says(page, 'state', '^no answer from the gateway$');
    await page.close();
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
    await page.fill('#token', 'wrong');
    await page.click('#login button');
    await says(page, 'state', '^bearer token is missing or wrong$');
    await page.waitForSelector('#login', { state: 'visible' });
    await page.fill('#token', 'sesame-sesame');
    await page.click('#login button');
    await says(page, 'state', '^serving, ');
    assert.equal(await page.isVisible('#login'), false);
    await page.reload();
    await says(page, 'state', '^serving, ');
    assert.equal(await page.isVisible('#main'), true);
    await page.close();
  });
});
