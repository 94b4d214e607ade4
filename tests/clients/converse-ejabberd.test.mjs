// Converse.js in headless Chromium, over each front of the gateway, with ejabberd behind it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser } from './browser.mjs';
import { FRONTS, Site, domain } from './support.mjs';

let browser;
let site;

before(async () => {
  site = await Site.start({
    server: 'ejabberd',
    users: {
      ...pair('bosh'),
      ...pair('websocket'),
    },
  });
  browser = await Browser.start(site, {
    '/': 'tests/clients/page/converse.html',
    '/page.js': 'tests/clients/page/converse.js',
    '/converse/': 'demo/node_modules/converse.js/dist',
  }, { visible: true });
});

after(async () => {
  await browser?.stop();
  await site?.stop();
});

/** Alice and Bob, who know each other: at each front, there are two of them. */
function pair(front) {
  return {
    [`alice-${front}`]: { [`bob-${front}@${domain}`]: { name: 'Bob <3', groups: ['Friends'] } },
    [`bob-${front}`]: { [`alice-${front}@${domain}`]: { name: 'Alice' } },
  };
}

/** Somebody's chat. */
const open = (user, front) => browser.open({
  url: site.fronts[front], jid: `${user}@${domain}`, password: site.password(user),
});

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

for (const front of FRONTS) test(`login, the backend's list, presence, chat both ways, pushes: ${front}`, async () => {
  const [ALICE, BOB] = [`alice-${front}`, `bob-${front}`];
  const alice = await open(ALICE, front);
  await contact(alice, BOB, { group: 'Friends', status: 'offline' }).waitFor();
  const bob = await open(BOB, front);
  await contact(bob, ALICE, { status: 'online' }).waitFor();
  await contact(alice, BOB, { group: 'Friends', status: 'online' }).waitFor();
  const name = (friend) => contact(alice, friend).locator('.contact-name').innerText();
  assert.match(await name(BOB), /Bob <3/);

  await openChat(alice, BOB);
  await say(alice, 'hello <Bob> & all');
  await openChat(bob, ALICE);
  await message(bob, 'hello <Bob> & all').waitFor();
  await say(bob, 'and to you');
  await message(alice, 'and to you').waitFor();

  // On a refresh: one changes and stays online, one comes, and then one goes.
  const robert = { name: 'Robert', groups: ['Work'] };
  await site.change(ALICE, {
    [`${BOB}@${domain}`]: robert, 'carol@example.org': { name: 'Carol' },
  });
  await contact(alice, BOB, { group: 'Work', status: 'online' }).waitFor();
  assert.match(await name(BOB), /Robert/);
  await contact(alice, 'carol', { status: 'offline' }).waitFor();
  await site.change(ALICE, { [`${BOB}@${domain}`]: robert });
  await contact(alice, 'carol').waitFor({ state: 'detached' });
  await say(bob, 'still there?');
  await message(alice, 'still there?').waitFor();
  assert.doesNotMatch(site.gateway.output(), /WARN|ERROR/);
});
