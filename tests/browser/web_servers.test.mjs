// The examples for Nginx and Apache, as they are, on a Debian of their own: two people chat by Converse.js, which the
// example serves, one by WebSocket and one by BOSH.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Browser } from '../clients/browser.mjs';
import { Site, domain, root, until } from '../clients/support.mjs';

const EXAMPLES = ['nginx-example.conf', 'apache-example.conf'];
const HTML = '/var/www/html';
const CONTACTS = '/var/www/contacts';
const USERS = {
  john: { [`marie@${domain}`]: { name: 'Marie' } },
  marie: { [`john@${domain}`]: { name: 'John' } },
};
const machine = (script) => join(root, 'tests/machine', script);
const here = process.env.EXAMPLE;

if (here) test(`${here} serves a chat`, (t) => chat(t, here));
else for (const example of EXAMPLES) test(example, () => onAMachineOfItsOwn(example));

function onAMachineOfItsOwn(example) {
  const env = { ...process.env, EXAMPLE: example };
  // It is no part of this run.
  delete env.NODE_TEST_CONTEXT;
  const run = spawnSync(machine('run'), [process.execPath, fileURLToPath(import.meta.url)], { env, encoding: 'utf8' });
  assert.equal(run.status, 0, `${run.error ?? ''}${run.stdout}${run.stderr}`);
}

/** Puts the pages where the web server finds them, and the contact lists. */
function publish() {
  cpSync(join(root, 'demo/node_modules/converse.js/dist'), join(HTML, 'converse'), { recursive: true });
  cpSync(join(root, 'tests/clients/page/converse.html'), join(HTML, 'chat.html'));
  cpSync(join(root, 'tests/clients/page/converse.js'), join(HTML, 'page.js'));
  writeFileSync(join(HTML, 'types.html'), '<!doctype html><script type="module" src="/type.mjs"></script>');
  writeFileSync(join(HTML, 'type.mjs'), 'document.title = import.meta.url;');
  mkdirSync(CONTACTS);
  for (const [user, contacts] of Object.entries(USERS)) {
    writeFileSync(join(CONTACTS, user), JSON.stringify(contacts));
  }
}

async function chat(t, example) {
  publish();
  const followed = spawnSync(machine('follow'), [join(root, example)], { stdio: 'inherit' });
  assert.equal(followed.status, 0);
  const site = await Site.start({
    users: USERS, listen: '127.0.0.1:5290', rosters: 'http://localhost/contacts/%s',
  });
  t.after(() => site.stop());
  const switches = [`--host-resolver-rules=MAP ${domain} 192.0.2.1`, '--ignore-certificate-errors'];
  const browser = await Browser.start(site, {}, { switches });
  t.after(() => browser.stop());

  const types = await browser.context.newPage();
  await types.goto(`https://${domain}/types.html`);
  await until(async () => await types.title() === `https://${domain}/type.mjs`, 'a module to be loaded');
  await types.close();

  const [websocket, bosh] = [`wss://${domain}/xmpp-websocket`, `https://${domain}/http-bind`];
  const [john, marie] = [await open(browser, site, 'john', websocket), await open(browser, site, 'marie', bosh)];
  await shows(john, 'marie', 'Marie');
  await shows(marie, 'john', 'John');
  await says(john, 'marie', 'hello Marie');
  await hears(marie, 'john', 'hello Marie');
  await says(marie, 'john', 'hello John');
  await hears(john, 'marie', 'hello John');
  const answer = await fetch(`http://127.0.0.1:${site.port}/roster_admin/sessions`);
  const { sessions } = await answer.json();
  assert.deepEqual(sessions.map(({ front, tls }) => [front, tls]).sort(), [['bosh', true], ['websocket', true]]);
  // One connection carries all but the WebSocket.
  const protocol = await john.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
  assert.equal(protocol, 'h2');
}

async function open(browser, site, user, url) {
  const page = await browser.context.newPage();
  const parameters = { url, jid: `${user}@${domain}`, password: site.password(user) };
  await page.goto(`https://${domain}/chat.html?${new URLSearchParams(parameters)}`);
  return page;
}

/** Waits until a contact is there by that name, online. */
async function shows(page, user, name) {
  await page.bringToFront();
  const link = `li.list-item[data-status=online] a.open-chat[data-jid="${user}@${domain}"]`;
  await page.locator(link, { hasText: name }).first().waitFor();
}

const says = (page, user, body) => page.evaluate(async ([jid, text]) => {
  (await window.api.chats.open(jid)).sendMessage({ body: text });
}, [`${user}@${domain}`, body]);

const hears = (page, user, body) => until(() => page.evaluate(async ([jid, text]) => {
  const chatbox = await window.api.chats.get(jid);
  return chatbox?.messages?.map((message) => message.get('body')).includes(text);
}, [`${user}@${domain}`, body]), `${body} to be heard`);
