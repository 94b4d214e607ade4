// Clients on a page in Chromium that are not of today, but on many sites: what each is to do with any server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Scene } from './scene.mjs';
import { PATIENCE, until } from './support.mjs';

const strophe = { html: 'strophe.html', js: 'strophe.js' };
const converse = { html: 'converse.html', js: 'converse.js' };
const modules = 'tests/clients/node_modules';
/** By name: the page, and what it loads. */
const CLIENTS = {
  'strophe-1.2': { ...strophe, loads: { 'strophe.js': `${modules}/strophe-1.2/strophe.js` } },
  'strophe-1.6': { ...strophe, loads: { 'strophe.js': `${modules}/strophe-1.6/dist/strophe.umd.min.js` } },
  'converse-7': { ...converse, loads: { 'converse/': `${modules}/converse-7/dist` } },
  'converse-10': { ...converse, loads: { 'converse/': `${modules}/converse-10/dist` } },
  jsxc: {
    html: 'jsxc.html',
    js: 'jsxc.js',
    loads: { 'jsxc/': '/usr/share/javascript/jsxc' },
    // It shows no groups, and no tags, which it takes for HTML.
    groups: false,
    shows: (text) => text.replaceAll(/<[^>]*>/g, ''),
  },
};
/** Each has one of its own; an account is a file of that name. */
const user = (name) => name.replaceAll(/[^a-z0-9]/g, '');
let scene;

before(async () => {
  const files = Object.entries(CLIENTS).flatMap(([name, { html, js, loads }]) => [
    [`/${name}/chat`, `tests/clients/page/${html}`],
    [`/${name}/page.js`, `tests/clients/page/${js}`],
    ...Object.entries(loads).map(([path, file]) => [`/${name}/${path}`, file]),
  ]);
  scene = await Scene.start(Object.keys(CLIENTS).map(user), Object.fromEntries(files));
});

after(() => scene?.stop());

/** Waits until `probe` holds for what the page knows; gives that. */
async function when(page, what, probe) {
  let app;
  await until(async () => {
    app = await page.evaluate(async () => {
      await window.app?.look?.();
      return { ...window.app };
    }).catch(() => null);
    return app && probe(app);
  }, () => `${what} in ${JSON.stringify(app)}`);
  return app;
}

const isBob = (from) => from.startsWith('bob@example.org');

for (const [name, { groups = true, shows = (text) => text }] of Object.entries(CLIENTS)) {
  test(`${name}: login, list, presence, a message each way, pushes, logout`, { timeout: 3 * PATIENCE }, async (t) => {
    const page = await scene.open(t, user(name), `${name}/chat`);
    const app = await when(page, 'Bob', ({ roster, online }) => roster['bob@example.org'] && online.some(isBob));
    assert.deepEqual(app.roster, { 'bob@example.org': 'Bob <3' });
    if (groups) assert.deepEqual(app.groups, { 'bob@example.org': ['Friends'] });
    await scene.comes(app.jid);

    await page.evaluate((to) => window.app.open?.(to), scene.bob.jid);
    const texts = scene.bob.tell(app.jid, 2).map(shows);
    const { heard } = await when(page, 'what Bob says', (now) => now.heard.includes(texts[1]));
    assert.deepEqual(heard, texts);
    await page.evaluate(([to, said]) => window.app.say(to, [said]), [scene.bob.jid, `hello from ${name}`]);
    await until(() => scene.bob.heard.includes(`hello from ${name}`), 'Bob to hear');

    await scene.site.change(user(name), { 'bob@example.org': { name: 'Robert' }, 'carol@example.org': { name: 'Carol' } });
    await when(page, 'the change', ({ roster }) => roster['carol@example.org'] === 'Carol' && roster['bob@example.org'] === 'Robert');

    const { presences } = await when(page, 'who came', () => true);
    assert.deepEqual(presences.filter(isBob), [`${scene.bob.jid} available`], 'once, and nothing else');
    await page.evaluate(() => { window.app.logout(); });
    await scene.goes(app.jid);
    // What else there may be of it comes before the end of somebody who goes later.
    const seen = scene.bob.presences.filter((presence) => presence.startsWith(`${app.jid} `));
    assert.deepEqual(seen, [`${app.jid} available`, `${app.jid} unavailable`], 'once, and no more');
  });
}
