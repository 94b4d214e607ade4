// What each client is to do with any server, by each front of the gateway.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PLACES, clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { PATIENCE, until } from './support.mjs';

/** Each has one of its own for each front; an account is a file of that name. */
const user = ({ name }, front) => `${name}${front}`.replaceAll(/[^a-z0-9]/g, '');
const isBob = (from) => from.startsWith('bob@example.org');

for (const place of PLACES) describe(place, () => {
  const clients = clientsIn(place);
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => client.fronts.map((front) => user(client, front)));
    scene = await Scene.start(women, filesOf(clients), { kind: place });
  });

  after(() => scene?.stop());

  for (const client of clients) for (const front of client.fronts) {
    test(`${client.name} over ${front}: login, list, presence, a message each way, pushes, logout`, { timeout: 3 * PATIENCE }, async (t) => {
      const woman = user(client, front);
      const her = await scene.person(t, client, woman, scene.site.fronts[front]);
      const app = await her.when('Bob', ({ roster, online }) => roster['bob@example.org'] && online.some(isBob));
      assert.deepEqual(app.roster, { 'bob@example.org': 'Bob <3' });
      if (client.groups) assert.deepEqual(app.groups, { 'bob@example.org': ['Friends'] });
      const { jid } = app;
      await scene.comes(jid);

      await her.open(scene.bob.jid);
      const texts = scene.bob.tell(jid, 2).map(client.shows);
      const { heard } = await her.when('what Bob says', (now) => now.heard.includes(texts[1]));
      assert.deepEqual(heard, texts);
      await her.say(scene.bob.jid, [`hello from ${woman}`]);
      await until(() => scene.bob.heard.includes(`hello from ${woman}`), 'Bob to hear');

      await scene.site.change(woman, { 'bob@example.org': { name: 'Robert' }, 'carol@example.org': { name: 'Carol' } });
      await her.when('the change', ({ roster }) => roster['carol@example.org'] === 'Carol' && roster['bob@example.org'] === 'Robert');

      const { presences } = await her.look();
      assert.deepEqual(presences.filter(isBob), [`${scene.bob.jid} available`], 'once, and nothing else');
      await her.logout();
      await scene.goes(jid);
      // What else there may be of it comes before the end of somebody who goes later.
      const seen = scene.bob.presences.filter((presence) => presence.startsWith(`${jid} `));
      assert.deepEqual(seen, [`${jid} available`, `${jid} unavailable`], 'once, and no more');
    });
  }
});
