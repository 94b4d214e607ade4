// Converse.js in headless Chromium, with ejabberd behind the gateway.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join, normalize } from 'node:path';
import { after, before, test } from 'node:test';

import { PATIENCE, Site, domain, root } from './support.mjs';

const { chromium } = createRequire(join(root, 'demo/package.json'))('playwright-core');
const dist = join(root, 'demo/node_modules/converse.js/dist');
const types = { '.css': 'text/css', '.js': 'text/javascript', '.json': 'application/json' };
let browser;
let pages; // what serves them
let site;

before(async () => {
  assert.ok(existsSync('/usr/bin/chromium'), 'Chromium is missing: make deps installs it');
  site = await Site.start({
    server: 'ejabberd',
    users: {
      alice: { 'bob@example.org': { name: 'Bob <3', groups: ['Friends'] } },
      bob: { 'alice@example.org': { name: 'Alice' } },
    },
  });
  pages = createServer(serve);
  await new Promise((done) => { pages.listen(0, '127.0.0.1', done); });
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});

after(async () => {
  await browser?.close();
  pages?.closeAllConnections();
  pages?.close();
  await site?.stop();
});

/** Serves somebody's chat at /USER, and the files of Converse.js. */
function serve(req, res) {
  const path = decodeURIComponent(new URL(req.url, 'http://site').pathname);
  const user = path.slice(1);
  if (Object.hasOwn(site.users, user)) {
    res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    res.end(chat(user));
    return;
  }
  const file = normalize(join(dist, path));
  const found = file.startsWith(dist) && extname(file) && existsSync(file);
  res.writeHead(found ? 200 : 404, { 'Content-Type': types[extname(file)] ?? '' });
  res.end(found ? readFileSync(file) : '');
}

function chat(user) {
  const settings = {
    assets_path: '/',
    authentication: 'login',
    auto_login: true,
    autocomplete_providers_url: '',
    blacklisted_plugins: ['converse-omemo'],
    bosh_service_url: site.url,
    discover_connection_methods: false,
    jid: `${user}@${domain}`,
    password: site.password(user),
    persistent_store: 'sessionStorage',
    show_self_in_roster: false,
    view_mode: 'fullscreen',
  };
  return `<!doctype html><meta charset="utf-8"><title>${user}</title>
<link rel="stylesheet" href="/converse.min.css"><body class="converse-fullscreen">
<script type="module" src="/converse.min.js"></script>
<script type="module">converse.initialize(${JSON.stringify(settings)});</script>`;
}

/** Somebody's chat, in a browser profile of its own. */
async function open(user) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 700 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`http://127.0.0.1:${pages.address().port}/${user}`);
  return page;
}

/** A contact as the list shows it. */
function contact(page, friend, { status = '', group = '' } = {}) {
  const inGroup = group ? `.roster-group[data-group="${group}"] ` : '';
  const withStatus = status ? `[data-status="${status}"]` : '';
  return page.locator(`${inGroup}li.list-item${withStatus}`)
    .filter({ has: page.locator(`a.open-chat[data-jid="${friend}@${domain}"]`) });
}

/** Opens a chat; a contact with unread messages is listed twice. */
const openChat = (page, friend) => contact(page, friend).locator('a.open-chat').first().click();

async function say(page, text) {
  await page.locator('.chat-textarea').fill(text);
  await page.locator('.chat-textarea').press('Enter');
}

const message = (page, text) => page.locator('.chat-msg__text', { hasText: text });

test('login, the backend\'s list, presence, chat both ways, pushes', async () => {
  const alice = await open('alice');
  await contact(alice, 'bob', { group: 'Friends', status: 'offline' }).waitFor();
  const bob = await open('bob');
  await contact(bob, 'alice', { status: 'online' }).waitFor();
  await contact(alice, 'bob', { group: 'Friends', status: 'online' }).waitFor();
  const name = (friend) => contact(alice, friend).locator('.contact-name').innerText();
  assert.match(await name('bob'), /Bob <3/);

  await openChat(alice, 'bob');
  await say(alice, 'hello <Bob> & all');
  await openChat(bob, 'alice');
  await message(bob, 'hello <Bob> & all').waitFor();
  await say(bob, 'and to you');
  await message(alice, 'and to you').waitFor();

  // On a refresh: one changes and stays online, one comes, and then one goes.
  const robert = { name: 'Robert', groups: ['Work'] };
  await site.change('alice', {
    'bob@example.org': robert, 'carol@example.org': { name: 'Carol' },
  });
  await contact(alice, 'bob', { group: 'Work', status: 'online' }).waitFor();
  assert.match(await name('bob'), /Robert/);
  await contact(alice, 'carol', { status: 'offline' }).waitFor();
  await site.change('alice', { 'bob@example.org': robert });
  await contact(alice, 'carol').waitFor({ state: 'detached' });
  await say(bob, 'still there?');
  await message(alice, 'still there?').waitFor();
  assert.doesNotMatch(site.gateway.output(), /WARN|ERROR/);
});
