// The demo page in headless Chromium, as a visitor uses it: everything is real but the visitor.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { chromium } = createRequire(join(root, 'demo/package.json'))('playwright-core');
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const PATIENCE = 30_000;

/** Starts the demo as `make demo` does, but for the build. */
async function startDemo() {
  const folder = mkdtempSync(join(tmpdir(), 'rostergate-browser-'));
  const file = join(folder, 'ports.json');
  const binary = join(target, 'debug/rostergate');
  const args = [join(root, 'demo/run.mjs'), '--binary', binary, '--port', '0', '--ports-file', file];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data) => { said += data; });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const isReady = until(() => existsSync(file), 'the demo to start');
  await Promise.race([isReady, ended.then(() => assert.fail(`the demo does not start:\n${said}`))]);
  const { url, pids } = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(folder, { recursive: true });
  const stop = async () => {
    child.kill('SIGINT');
    return ended;
  };
  return { url, pids: { ...pids, run: child.pid }, stop };
}

async function until(probe, what) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await pause(50);
  }
}

const isAlive = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

let browser;
let demo;
let page;

before(async () => {
  assert.ok(existsSync('/usr/bin/chromium'), 'Chromium is missing: make deps installs it');
  demo = await startDemo();
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  page.setDefaultTimeout(PATIENCE);
  await page.goto(demo.url);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const card = (user) => page.locator(`.person[data-user=${user}]`);
const row = (user, friend) => card(user).locator(`[data-friend=${friend}]`);
const chat = (user) => page.frameLocator(`iframe[name=${user}]`);

/** A contact in somebody's chat, as the roster shows it. */
function contact(user, friend, { status = '', group = '' } = {}) {
  const inGroup = group ? `.roster-group[data-group="${group}"] ` : '';
  const withStatus = status ? `[data-status="${status}"]` : '';
  return chat(user).locator(`${inGroup}li.list-item${withStatus}`)
    .filter({ has: page.locator(`a.open-chat[data-jid="${friend}@example.org"]`) });
}

const name = (user, friend) => contact(user, friend).locator('.contact-name');
/** What the site knows of somebody: the port of the chat, how many sessions it has asked for. */
const person = async (user) => {
  const people = await (await fetch(`${demo.url}people`)).json();
  return people.find((one) => one.user === user);
};
const sessions = async () => [(await person('alice')).sessions, (await person('bob')).sessions];

test('both chats log in and show the friends that the site knows', async () => {
  await contact('alice', 'carol', { group: 'Friends' }).waitFor();
  await contact('bob', 'dave').waitFor();
  assert.equal(await contact('alice', 'bob').count(), 0);
});

test('befriend: both see each other, online', async () => {
  await row('alice', 'bob').getByRole('button', { name: 'befriend' }).click();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await contact('bob', 'alice', { status: 'online' }).waitFor();
  await page.locator('#log .ok', { hasText: 'updated 2' }).waitFor();
});

test('rename and regroup: the chat follows', async () => {
  await row('alice', 'bob').locator('input').fill('Bobby <3');
  await row('alice', 'bob').locator('input').press('Enter');
  await name('alice', 'bob').filter({ hasText: 'Bobby <3' }).waitFor();
  await row('alice', 'bob').locator('select').selectOption('Work');
  await contact('alice', 'bob', { group: 'Work', status: 'online' }).waitFor();
  assert.match(await name('bob', 'alice').innerText(), /Alice/, 'the other list is untouched');
});

test('a message from one arrives at the other', async () => {
  await contact('alice', 'bob').locator('a.open-chat').click();
  await chat('alice').locator('.chat-textarea').fill('hello from Alice');
  await chat('alice').locator('.chat-textarea').press('Enter');
  await contact('bob', 'alice').locator('a.open-chat').click();
  await chat('bob').locator('.chat-msg__text', { hasText: 'hello from Alice' }).waitFor();
});

test('a reload keeps both sessions, and pushes, presence and messages still arrive', async () => {
  assert.deepEqual(await sessions(), [1, 1]);
  await page.reload();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await row('alice', 'dave').getByRole('button', { name: 'befriend' }).click();
  await contact('alice', 'dave', { status: 'offline' }).waitFor();
  const dave = await browser.newPage();
  await dave.goto(`http://127.0.0.1:${(await person('dave')).port}/`);
  await contact('alice', 'dave', { status: 'online' }).waitFor();
  await row('alice', 'bob').locator('input').fill('Robert');
  await row('alice', 'bob').locator('input').press('Enter');
  await name('alice', 'bob').filter({ hasText: 'Robert' }).waitFor();
  await chat('bob').locator('.chat-textarea').fill('still here');
  await chat('bob').locator('.chat-textarea').press('Enter');
  await chat('alice').locator('.chat-msg__text', { hasText: 'still here' }).waitFor();
  assert.deepEqual(await sessions(), [1, 1], 'no new sessions');
});

test('unfriend: both lose each other', async () => {
  await row('bob', 'alice').getByRole('button', { name: 'unfriend' }).click();
  await contact('alice', 'bob').waitFor({ state: 'detached' });
  await contact('bob', 'alice').waitFor({ state: 'detached' });
});

test('a lost session: the chat logs in again, and follows the list as before', async () => {
  await page.frame({ name: 'alice' }).evaluate(async () => {
    const { sid, rid } = JSON.parse(sessionStorage.getItem('strophe-bosh-session'));
    const end = `<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' `
      + `sid='${sid}' rid='${rid}'/>`;
    await fetch('/http-bind', { method: 'POST', body: end });
  });
  await until(async () => (await person('alice')).sessions === 2, 'Alice to log in again');
  await row('alice', 'bob').getByRole('button', { name: 'befriend' }).click();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await contact('bob', 'alice', { status: 'online' }).waitFor();
});

test('Ctrl-C leaves no process behind, and a second start works', async () => {
  const pids = Object.values(demo.pids);
  assert.equal(pids.length, 4);
  assert.ok(pids.every(isAlive));
  assert.equal(await demo.stop(), 0);
  await until(() => !pids.some(isAlive), 'the processes to end');
  demo = await startDemo();
  assert.equal((await fetch(demo.url)).status, 200);
});
