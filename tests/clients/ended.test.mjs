// The site ends a session: the client does not come back by itself, and its user sees that; or it does, if it was asked to.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { FRONTS, PATIENCE, domain, until } from './support.mjs';

const NAMES = ['converse-10', 'converse-14', 'strophe-5'];
const user = ({ name }, front) => `${name}${front}`.replaceAll(/[^a-z0-9]/g, '');
const bob = `bob@${domain}`;
const isThere = ({ roster, online }) => roster[bob] && online.some((from) => from.startsWith(bob));

describe('a session that the site ends', () => {
  const clients = clientsIn('chromium').filter(({ name }) => NAMES.includes(name));
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => FRONTS.map((front) => user(client, front)));
    scene = await Scene.start(women, filesOf(clients));
  });

  after(() => scene?.stop());

  const end = async (woman, query = '') => {
    const url = `http://127.0.0.1:${scene.site.port}/roster_admin/sessions?user=${woman}${query}`;
    const answer = await fetch(url, { method: 'DELETE' });
    assert.equal((await answer.json()).ended, 1);
  };

  for (const client of clients) for (const front of FRONTS) {
    test(`${client.name} by ${front}`, { timeout: 2 * PATIENCE }, async (t) => {
      const woman = user(client, front);
      const her = await scene.person(t, client, woman, scene.site.fronts[front]);
      const { jid } = await her.when('Bob', isThere);
      await scene.comes(jid);

      await end(woman, '&again=true');
      await scene.goes(jid);
      await until(() => scene.logins(woman) === 2, 'her to come back');
      // Converse.js has the same resource again.
      const back = await her.when('Bob', (app) => (client.page === 'converse' || app.jid !== jid) && isThere(app));
      await scene.comes(back.jid);

      await end(woman);
      await scene.goes(back.jid);
      if (client.page === 'converse') {
        await her.page.locator('input[name=password]').waitFor();
      } else {
        await her.when('a refusal', ({ states }) => states.some((state) => state.startsWith('AUTHFAIL')));
        her.logout();
      }
      assert.equal(scene.logins(woman), 2, 'not again');
    });
  }
});
