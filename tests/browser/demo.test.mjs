// The demo page in headless Chromium, as a visitor uses it: everything is real but the visitor. A picture of it is left in
// target/demo.png (`make pictures`).

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Visit, isAlive, root, startBrowser, startDemo, until } from './demo.mjs';
import { brokenWords, faintTexts, overflow } from './looks.mjs';

let browser;
let demo;
let page;
let row;
let figure;
let chat;
let contact;
let write;
let messages;

before(async () => {
  demo = await startDemo();
  browser = await startBrowser();
  const visit = await Visit.to(demo.url, browser);
  ({ page, row, figure, chat, contact, write, messages } = visit);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const name = (user, friend) => contact(user, friend).locator('.contact-name');
/** What the site knows of somebody. */
const person = async (user) => {
  const people = await (await fetch(`${demo.url}people`)).json();
  return people.find((one) => one.user === user);
};
/** Somebody's sessions, as the gateway numbers them. */
async function sessions(user) {
  const answer = await fetch(`${demo.gateway}roster_admin/sessions?user=${user}`);
  const { sessions: all } = await answer.json();
  return all.map(({ number, front, asleep }) => ({ number, front, isAsleep: asleep !== null }));
}

const isOnline = (user) => page.locator(`#online [data-user=${user}]`);

test('both chats log in and show the friends that the site knows', async () => {
  await contact('alice', 'carol', { group: 'Friends' }).waitFor();
  await contact('bob', 'dave').waitFor();
  assert.equal(await contact('alice', 'bob').count(), 0);
});

test('no page has a password: the chat logs in by the cookie of its visitor', async () => {
  const url = `http://127.0.0.1:${(await person('alice')).port}/credentials`;
  assert.equal((await fetch(url)).status, 401, 'without the cookie');
  const given = await page.frame({ name: 'alice' }).evaluate(async (address) => (await fetch(address)).json(), url);
  assert.equal(given.jid, 'alice@example.org');
  const again = await page.frame({ name: 'alice' }).evaluate(async (address) => (await fetch(address)).json(), url);
  assert.notEqual(again.password, given.password);
});

/** What a server says to a request that comes under a name. */
function underName(name, url, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = request(url, { headers: { ...headers, Host: name } });
    sent.on('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on('upgrade', (_, socket) => { socket.destroy(); resolve(101); });
    sent.on('error', (error) => (error.code === 'ECONNRESET' ? resolve(null) : reject(error)));
    sent.end();
  });
}

test('a name that somebody else has lead here reaches nothing', async () => {
  const { port } = await person('alice');
  const chatUrl = `http://127.0.0.1:${port}/`;
  for (const url of [demo.url, `${demo.url}people`, chatUrl, `${chatUrl}http-bind`]) {
    for (const name of ['evil.example', 'localhost.evil.example:80', '127.0.0.1.evil.example']) {
      assert.equal(await underName(name, url), 403, `${name} ${url}`);
    }
    assert.notEqual(await underName(`localhost:${port}`, url), 403, url);
  }
  const upgrade = {
    Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Protocol': 'xmpp',
    'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
  };
  const socketUrl = `${chatUrl}xmpp-websocket`;
  assert.equal(await underName('evil.example', socketUrl, upgrade), null);
  assert.equal(await underName(`127.0.0.1:${port}`, socketUrl, upgrade), 101);
});

test('a page of another site can have nothing done', async () => {
  for (const path of ['ban', 'do/befriend', 'gateway', 'unplug']) {
    const body = JSON.stringify({ user: 'alice', friend: 'bob', banned: true, seconds: 1 });
    const posted = await fetch(demo.url + path, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body });
    assert.equal(posted.status, 415, path);
  }
  assert.equal((await person('alice')).banned, false);
});

test('the site shows who is online', async () => {
  for (const user of ['alice', 'bob']) await isOnline(user).waitFor();
  assert.equal(await page.locator('#online b').count(), 2);
});

for (const colorScheme of ['light', 'dark']) {
  test(`on a phone, the chats are one above the other, and all can be read, ${colorScheme}`, async () => {
    await page.emulateMedia({ colorScheme });
    const desktop = page.viewportSize();
    for (const width of [390, 800, 1280]) {
      await page.setViewportSize({ width, height: 844 });
      for (const frame of page.frames()) assert.equal(await overflow(frame), 0, `${frame.url()} at ${width} px`);
      assert.deepEqual(await faintTexts(page), [], `at ${width} px`);
      assert.deepEqual(await brokenWords(page, '.site'), [], `at ${width} px`);
    }
    await page.setViewportSize({ width: 390, height: 844 });
    const [first, second] = await Promise.all(['alice', 'bob'].map((user) => figure(user).boundingBox()));
    assert.ok(second.y >= first.y + first.height && second.x === first.x, JSON.stringify([first, second]));
    for (const { height, width } of [first, second]) assert.ok(height >= 400 && width >= 350, `${width}x${height}`);
    await page.setViewportSize(desktop);
    await page.emulateMedia({ colorScheme: null });
  });
}

test('befriend: both see each other, online', async () => {
  await row('alice', 'bob').getByRole('button', { name: 'befriend' }).click();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await contact('bob', 'alice', { status: 'online' }).waitFor();
  await page.locator('#log .ok', { hasText: 'updated 2' }).waitFor();
});

test('a message from one arrives at the other', async () => {
  // First, as a contact with an unread message is listed twice.
  await contact('bob', 'alice').locator('a.open-chat').click();
  await contact('alice', 'bob').locator('a.open-chat').click();
  await write('alice', 'Hello Bob, there you are!');
  await messages('bob', 'Hello Bob, there you are!').waitFor();
  await write('bob', 'Hello Alice!');
  await messages('alice', 'Hello Alice!').waitFor();
  mkdirSync(join(root, 'target'), { recursive: true });
  await page.screenshot({ path: join(root, 'target/demo.png') });
});

test('rename and regroup: the chat follows', async () => {
  await row('alice', 'bob').locator('input').fill('Bobby <3');
  await row('alice', 'bob').locator('input').press('Enter');
  await name('alice', 'bob').filter({ hasText: 'Bobby <3' }).waitFor();
  await row('alice', 'bob').locator('select').selectOption('Work');
  await contact('alice', 'bob', { group: 'Work', status: 'online' }).waitFor();
  assert.match(await name('bob', 'alice').innerText(), /Alice/, 'the other list is untouched');
});

test('one chat comes by WebSocket, the other by BOSH', async () => {
  for (const [user, front, shown] of [['alice', 'websocket', 'WebSocket'], ['bob', 'bosh', 'BOSH']]) {
    assert.equal(await figure(user).locator('.front').innerText(), shown);
    assert.deepEqual((await sessions(user)).map((session) => session.front), [front]);
  }
});

for (const [user, friend] of [['alice', 'bob'], ['bob', 'alice']]) {
  test(`pulling the plug of ${user}'s chat loses nothing, and doubles nothing`, async () => {
    const before = await sessions(user);
    await figure(user).getByRole('button', { name: 'pull the plug' }).click();
    await figure(user).getByRole('button', { name: 'no network' }).waitFor();
    if (user === 'alice') {
      await until(async () => (await sessions(user))[0].isAsleep, 'the session to fall asleep');
    }
    for (const number of [1, 2, 3]) await write(friend, `meanwhile ${number} for ${user}`);
    assert.equal(await messages(user, `for ${user}`).count(), 0);
    await figure(user).getByRole('button', { name: 'pull the plug' }).waitFor();
    await messages(user, `meanwhile 3 for ${user}`).waitFor();
    await write(user, `all of it, says ${user}`);
    await messages(friend, `all of it, says ${user}`).waitFor();
    assert.deepEqual(
      await messages(user, `for ${user}`).allInnerTexts(),
      [1, 2, 3].map((number) => `meanwhile ${number} for ${user}`),
    );
    assert.deepEqual(await sessions(user), before, 'the same session');
  });
}

test('a reload keeps both sessions, and pushes, presence and messages still arrive', async () => {
  const before = [await sessions('alice'), await sessions('bob')];
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
  await write('bob', 'still here');
  await messages('alice', 'still here').waitFor();
  assert.deepEqual([await sessions('alice'), await sessions('bob')], before, 'no new sessions');
});

test('unfriend: both lose each other', async () => {
  await row('bob', 'alice').getByRole('button', { name: 'unfriend' }).click();
  await contact('alice', 'bob').waitFor({ state: 'detached' });
  await contact('bob', 'alice').waitFor({ state: 'detached' });
});

test('who is no friend cannot write, and is told so', async () => {
  await write('alice', 'friends no longer');
  await chat('alice').locator('.chat-msg__error').waitFor();
  assert.equal(await messages('bob', 'friends no longer').count(), 0);
});

test('a lost session: the chat logs in again, and follows the list as before', async () => {
  const [{ number }] = await sessions('bob');
  await page.frame({ name: 'bob' }).evaluate(async () => {
    const { sid, rid } = JSON.parse(sessionStorage.getItem('strophe-bosh-session'));
    const end = `<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' `
      + `sid='${sid}' rid='${rid}'/>`;
    await fetch('/http-bind', { method: 'POST', body: end });
  });
  const isNew = (session) => session.number > number;
  await until(async () => (await sessions('bob')).some(isNew), 'Bob to log in again');
  await row('alice', 'bob').getByRole('button', { name: 'befriend' }).click();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await contact('bob', 'alice', { status: 'online' }).waitFor();
  await write('alice', 'friends again');
  await messages('bob', 'friends again').waitFor();
  assert.equal(await messages('bob', 'friends no longer').count(), 0);
});

test('a ban ends the chat until the person is let in', async () => {
  await figure('bob').getByRole('button', { name: 'ban' }).click();
  await contact('alice', 'bob', { status: 'offline' }).waitFor();
  await isOnline('bob').waitFor({ state: 'detached' });
  const url = `http://127.0.0.1:${(await person('bob')).port}/credentials`;
  const refused = await page.frame({ name: 'bob' }).evaluate(async (address) => (await fetch(address)).status, url);
  assert.equal(refused, 403);
  const answer = await fetch(`${demo.gateway}roster_admin/sessions?user=bob`);
  const states = (await answer.json()).sessions.map(({ state }) => state);
  assert.ok(states.every((state) => state === 'ending'), `${states}`);
  await figure('bob').getByRole('button', { name: 'let in' }).waitFor();
  assert.equal(await isOnline('alice').count(), 1);
  await figure('bob').getByRole('button', { name: 'let in' }).click();
  await contact('alice', 'bob', { status: 'online' }).waitFor();
  await isOnline('bob').waitFor();
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
