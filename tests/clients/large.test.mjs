// What is large over WebSocket: messages up to `max_message`, which is Prosody's limit, and one beyond it; a list of more
// than 1 MiB.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { PATIENCE, domain, until } from './support.mjs';

const TESTS = ['long', 'list'];
const bob = `bob@${domain}`;
const user = ({ name }, of) => `${name}${of}`.replaceAll(/[^a-z0-9]/g, '');
/** A message of so many bytes; what is around the text takes less than 1,000. */
const long = (size) => 'long '.padEnd(size - 1_000, 'x');
const LIMIT = 256 << 10;
const CONTACTS = 1_150; // with 1,000 bytes each
const list = Object.fromEntries(Array.from({ length: CONTACTS }, (_, number) => [
  `friend-${number}@${domain}`, { name: `${number}`.padEnd(1_000, 'x') },
]));

for (const place of ['chromium', 'no browser']) describe(place, () => {
  const clients = clientsIn(place);
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => TESTS.map((of) => user(client, of)));
    scene = await Scene.start(women, filesOf(clients), { kind: place });
  });

  after(() => scene?.stop());

  const enter = (t, client, woman) => scene.person(t, client, woman, scene.site.fronts.websocket);

  for (const client of clients) {
    test(`${client.name}: long messages, and one that is too long`, { timeout: 3 * PATIENCE }, async (t) => {
      const woman = user(client, 'long');
      const her = await enter(t, client, woman);
      const { jid } = await her.when('Bob', ({ roster, online }) => roster[bob] && online.length > 0);
      await scene.comes(jid);
      await her.open(bob);
      const text = long(LIMIT);
      scene.bob.sendMessage({ to: jid, type: 'chat', body: text });
      await her.when('what Bob says', ({ heard }) => heard.includes(text));
      await her.say(bob, [text]);
      await until(() => scene.bob.heard.includes(text), 'Bob to hear');

      const refused = () => scene.site.gateway.output().match(/session ended.*policy-violation/g)?.length ?? 0;
      const already = refused();
      const tooLong = long(LIMIT + 10_000);
      her.say(bob, [tooLong])?.catch(() => {});
      await until(() => refused() > already, 'her to lose that session');
      // Who writes again what was not acknowledged loses the next session, too. JSXC does not come again.
      if (client.rewrites || client.page === 'jsxc') return;
      await until(() => scene.logins(woman) > 1, 'her to come again');
      await her.when('Bob again', ({ online }) => online.length > 0);
      await her.say(bob, [`${woman} again`]);
      await until(() => scene.bob.heard.includes(`${woman} again`), 'Bob to hear');
      assert.equal(scene.logins(woman), 2);
      assert.ok(!scene.bob.heard.includes(tooLong));
      if (client.page === 'converse') assert.ok((await her.look()).heard.includes(tooLong), 'shown as if it had been sent');
    });

    // The others draw each contact, which takes them long.
    if (!['converse', 'jsxc'].includes(client.page)) test(`${client.name}: a list of more than 1 MiB`, { timeout: 3 * PATIENCE }, async (t) => {
      const woman = user(client, 'list');
      scene.site.users[woman] = list;
      const her = await enter(t, client, woman);
      if (client.name === 'nbxmpp') {
        const { roster } = await her.when('to lose each WebSocket', ({ sessions, resumed }) => sessions + resumed > 3);
        assert.deepEqual(roster, {});
        return;
      }
      await her.when('the list', ({ roster }) => Object.keys(roster).length === CONTACTS);
      await until(() => scene.logins(woman) === 1, 'her to have logged in once');
    });
  }
});
