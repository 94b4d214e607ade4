// Converse.js in Chromium, logging in while the backend is down: it asks for its contacts once, and never again.

import { after, before, test } from 'node:test';

import { Scene } from './scene.mjs';
import { until } from './support.mjs';

/** One for each test. */
const WOMEN = ['anna', 'berta', 'clara'];
let scene;

before(async () => {
  scene = await Scene.start(WOMEN, {
    '/': 'tests/clients/page/converse.html',
    '/page.js': 'tests/clients/page/converse.js',
    '/converse/': 'demo/node_modules/converse.js/dist',
  });
});

after(() => scene?.stop());

/** A tab with somebody logged in, for whom the backend has failed so many times. */
async function open(t, user, fetches) {
  scene.site.down.add(user);
  const page = await scene.open(t, user);
  await until(() => scene.site.asked[user] >= fetches, `${fetches} fetches`, 60_000);
  return page;
}

/** Waits until each sees the other online. */
async function meets(page) {
  await page.bringToFront();
  await page.locator('li.list-item[data-status=online] a.open-chat[data-jid="bob@example.org"]')
    .first().waitFor({ timeout: 60_000 });
  await scene.comes(await page.evaluate(() => window.api.connection.get().jid));
}

// After 0, 0.5, 1.5 and 3.5 s; the next after 7.5 s has the list.
test('a backend that is back after five seconds is not noticed', async (t) => {
  const page = await open(t, 'anna', 4);
  scene.site.down.delete('anna');
  await meets(page);
});

// The client has been told; the gateway asks again and again, while nobody else does.
test('a backend that is back after half a minute: the contacts appear', async (t) => {
  const page = await open(t, 'berta', 12);
  scene.site.down.delete('berta');
  await meets(page);
});

test('with a refresh, the contacts appear at once', async (t) => {
  const page = await open(t, 'clara', 6); // one more than while the client waits
  scene.site.down.delete('clara');
  await scene.site.change('clara', scene.site.users.clara);
  await meets(page);
});
