// Converse.js keeps its contacts in the tab: what it shows after a lost session, and with the plugin of docs/clients.md.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { FRONTS, PATIENCE, domain, root, until } from './support.mjs';

const bob = `bob@${domain}`;
const carol = `carol@${domain}`;
const clients = clientsIn('chromium').filter(({ page }) => page === 'converse');
const user = ({ name }, front, keeps) => `${name}${front}${keeps}`.replaceAll(/[^a-z0-9]/g, '');

describe('contacts that changed while a session was lost', () => {
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => FRONTS.flatMap((front) => [user(client, front, ''), user(client, front, 'keeps')]));
    scene = await Scene.start(women, filesOf(clients));
  });

  after(() => scene?.stop());

  /** Her contacts, and whether she has asked for them, after the gateway was killed while the site changed them. */
  async function comesBack(t, client, front, keeps) {
    const woman = user(client, front, keeps);
    const her = await scene.person(t, client, woman, scene.site.fronts[front], { keeps });
    const isThere = ({ roster, online }) => roster[bob] && online.some((from) => from.startsWith(bob));
    await scene.comes((await her.when('Bob', isThere)).jid);

    scene.site.users[woman] = { [bob]: { name: 'Robert' }, [carol]: { name: 'Carol' } };
    await scene.restart('SIGKILL');
    await until(() => scene.logins(woman) === 1, 'her to come back');
    const { jid } = await her.look();
    await scene.comes(jid);
    // She has all that comes before this.
    await her.open(bob);
    const [text] = scene.bob.tell(jid, 1);
    return (await her.when(text, ({ heard }) => heard.includes(text))).roster;
  }

  const stale = { [bob]: 'Bob <3' };
  const fresh = { [bob]: 'Robert', [carol]: 'Carol' };

  for (const client of clients) for (const front of FRONTS) {
    test(`${client.name} by ${front}, with the plugin`, { timeout: 3 * PATIENCE }, async (t) => {
      assert.deepEqual(await comesBack(t, client, front, ''), fresh);
    });

    test(`${client.name} by ${front}, without`, { timeout: 3 * PATIENCE }, async (t) => {
      assert.deepEqual(await comesBack(t, client, front, 'keeps'), front === 'websocket' ? fresh : stale);
    });
  }
});

test('the plugin is the one of docs/clients.md', () => {
  const [, plugin] = /^(converse\.plugins\.add\('fresh-contacts'.*?^\}\);)$/ms
    .exec(readFileSync(join(root, 'docs/clients.md'), 'utf8'));
  const page = readFileSync(join(root, 'tests/clients/page/converse.js'), 'utf8');
  assert.ok(page.includes(plugin), plugin);
});
