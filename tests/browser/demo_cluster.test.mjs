// The demo with three gateways that are one: what becomes of a chat whose gateway is killed.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { Visit, isAlive, startBrowser, startDemo, until } from './demo.mjs';
import { brokenWords, faintTexts, overflow } from './looks.mjs';

const NAMES = ['a', 'b', 'c'];
let browser;
let demo;
let visit;

before(async () => {
  demo = await startDemo('--cluster');
  browser = await startBrowser();
  visit = await Visit.to(demo.url, browser);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const gateway = (name) => visit.page.locator(`#gateways [data-gateway=${name}]`);

/** The gateway that the page shows beside a chat. */
async function place(user) {
  const mark = visit.figure(user).locator('.gateway', { hasText: /^at [abc]$/ });
  await mark.waitFor();
  return (await mark.innerText()).slice(3);
}

/** Where the gateways have somebody, by what they say themselves. */
async function places(user) {
  const { sessions } = await (await fetch(`${demo.gateway}roster_admin/sessions?user=${user}`)).json();
  return sessions.filter(({ state }) => state !== 'ending').map((session) => session.gateway);
}

test('two chats, and where they are', async () => {
  await visit.contact('alice', 'carol').waitFor();
  await visit.contact('bob', 'dave').waitFor();
  assert.equal(await visit.page.locator('#gateways li').count(), NAMES.length);
  for (const user of ['alice', 'bob']) {
    const at = await place(user);
    assert.deepEqual(await places(user), [at]);
    await gateway(at).getByText(user[0].toUpperCase() + user.slice(1)).waitFor();
  }
});

test('they become friends, and write', async () => {
  await visit.row('alice', 'bob').getByRole('button', { name: 'befriend' }).click();
  await visit.contact('alice', 'bob', { status: 'online' }).waitFor();
  await visit.contact('bob', 'alice', { status: 'online' }).waitFor();
  await visit.contact('bob', 'alice').locator('a.open-chat').click();
  await visit.contact('alice', 'bob').locator('a.open-chat').click();
  await visit.write('alice', 'before');
  await visit.messages('bob', 'before').waitFor();
});

for (const colorScheme of ['light', 'dark']) {
  test(`all can be read, ${colorScheme}`, async () => {
    const { page } = visit;
    const desktop = page.viewportSize();
    await page.emulateMedia({ colorScheme });
    for (const width of [390, 800, 1280]) {
      await page.setViewportSize({ width, height: 844 });
      assert.equal(await overflow(page), 0, `${width} px`);
      assert.deepEqual(await faintTexts(page), [], `at ${width} px`);
      assert.deepEqual(await brokenWords(page, '.gateways'), [], `at ${width} px`);
    }
    await page.setViewportSize(desktop);
    await page.emulateMedia({ colorScheme: null });
  });
}

/** The lines of the status page, whichever gateway it asks. */
const lines = (page) => page.locator('#gateways tr').evaluateAll((rows) => rows.map(({ cells }) => [
  cells[0].innerText, cells[1].innerText.split('\n')[0],
]).sort());

test('the status page shows a gateway that is killed, and that it is back', async () => {
  const status = await browser.newPage();
  await status.goto(`${demo.gateway}roster_admin/`);
  const show = async (state) => {
    const expected = JSON.stringify(NAMES.map((name) => [name, name === 'b' ? state : 'answers']));
    await until(async () => JSON.stringify(await lines(status)) === expected, `the lines ${expected}`);
  };
  await show('answers');
  await gateway('b').getByRole('button', { name: 'kill -9' }).click();
  await show('does not answer');
  await gateway('b').getByRole('button', { name: 'start again' }).click();
  await show('answers');
  await status.close();
  for (const [user, friend] of [['alice', 'bob'], ['bob', 'alice']]) {
    await place(user);
    await visit.contact(friend, user, { status: 'online' }).waitFor();
  }
});

for (const [user, friend] of [['alice', 'bob'], ['bob', 'alice']]) {
  test(`${user}'s gateway is killed: the chat goes on at another, and nothing is lost`, async () => {
    const at = await place(user);
    const isFriendThere = await place(friend) === at;
    await gateway(at).getByRole('button', { name: 'kill -9' }).click();
    await gateway(at).getByText('no answer').waitFor();
    // A chat whose own session has died sends nothing, and may not know it yet.
    if (isFriendThere) {
      assert.notEqual(await place(friend), at);
      await visit.contact(friend, user, { status: 'online' }).waitFor();
    }
    await visit.write(friend, `meanwhile, for ${user}`);
    const next = await place(user);
    assert.notEqual(next, at);
    assert.deepEqual(await places(user), [next]);
    await visit.messages(user, `meanwhile, for ${user}`).waitFor();
    await visit.write(user, `here I am, says ${user}`);
    await visit.messages(friend, `here I am, says ${user}`).waitFor();
    assert.equal(await visit.messages(user, `meanwhile, for ${user}`).count(), 1);
    await visit.contact(friend, user, { status: 'online' }).waitFor();
    await visit.page.locator(`#online [data-user=${user}]`).waitFor();

    await gateway(at).getByRole('button', { name: 'start again' }).click();
    await gateway(at).getByText('no chats').waitFor();
    await until(async () => {
      const { gateways } = await (await fetch(`${demo.gateway}roster_admin/status`)).json();
      return gateways.length === NAMES.length;
    }, 'the gateways to be three again');
  });
}

test('Ctrl-C leaves no process behind, whatever was killed and started again', async () => {
  const { gateways } = await (await fetch(`${demo.gateway}roster_admin/status`)).json();
  assert.equal(gateways.length, NAMES.length);
  const names = Object.keys(demo.pids).sort();
  const others = NAMES.map((name) => `rostergate-${name}`);
  assert.deepEqual(names, ['haproxy', 'nats', 'prosody', ...others, 'run', 'site']);
  const now = execFileSync('ps', ['--ppid', String(demo.pids.run), '-o', 'pid='], { encoding: 'utf8' });
  const pids = now.trim().split(/\s+/).map(Number);
  assert.equal(pids.length, names.length - 1);
  assert.notDeepEqual(pids.filter((pid) => !Object.values(demo.pids).includes(pid)), [], 'some were started again');
  assert.equal(await demo.stop(), 0);
  await until(() => ![...pids, ...Object.values(demo.pids)].some(isAlive), 'the processes to end');
});
