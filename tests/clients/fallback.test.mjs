// Converse.js with the URLs of both fronts, where a WebSocket cannot always be had.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { PATIENCE, Relay, domain, fronts, until } from './support.mjs';

const TESTS = ['alone', 'start', 'break', 'both'];
/** What web servers say that do not pass WebSockets on; one just hangs up. */
const REFUSALS = ['404 Not Found', '502 Bad Gateway', ''].map((status) => status
  && `HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
const user = ({ name }, of) => `${name}${of}`.replaceAll(/[^a-z0-9]/g, '');
const bob = `bob@${domain}`;

for (const place of ['chromium', 'firefox']) describe(place, () => {
  const clients = clientsIn(place).filter(({ page, resumes }) => page === 'converse' && resumes);
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => TESTS.map((of) => user(client, of)));
    scene = await Scene.start(women, filesOf(clients), { kind: place });
  });

  after(() => scene?.stop());

  /** A way to the gateway for WebSockets. */
  async function way(t) {
    const relay = await Relay.start(Number(new URL(scene.site.fronts.websocket).port));
    t.after(() => relay.stop());
    return relay;
  }

  /** Somebody who may come by the relay's WebSocket or by BOSH; `more` is told her page. */
  async function enter(t, client, woman, relay, more = { fallback: 'yes' }) {
    const other = scene.site.fronts.bosh;
    const her = await scene.person(t, client, woman, fronts(relay.port).websocket, { other, ...more });
    return Object.assign(her, { relay, woman });
  }

  /** Waits until she is there by a front, after so many logins; gives what her page knows. */
  async function arrives(her, front, logins = 0) {
    await until(() => scene.logins(her.woman) > logins, `${her.woman} to log in`);
    const app = await her.when('Bob', (now) => now.front === front && now.roster[bob] && now.online.includes(bob));
    await scene.comes(app.jid);
    await her.open(bob);
    return app;
  }

  /** Her page shows all that Bob has said, each once. */
  async function hasHeard(her, texts) {
    const { heard } = await her.when(texts.at(-1), (app) => texts.every((text) => app.heard.includes(text)));
    const shown = heard.filter((text) => text.startsWith('message'));
    assert.deepEqual(shown.sort(), [...texts].sort(), 'each once');
  }

  /** Both talk, and her list is the site's. */
  async function livesOn(her, name) {
    const said = `${her.woman} is ${name}`;
    await her.say(bob, [said]);
    await until(() => scene.bob.heard.includes(said), 'Bob to hear');
    assert.equal(scene.bob.heard.filter((text) => text === said).length, 1);
    await scene.site.change(her.woman, { [bob]: { name } });
    await her.when('the change', ({ roster }) => roster[bob] === name);
  }

  for (const client of clients) {
    test(`${client.name} as it is does not fall back`, { timeout: 3 * PATIENCE }, async (t) => {
      const relay = await way(t);
      relay.break(REFUSALS[0]);
      const her = await enter(t, client, user(client, 'alone'), relay, {});
      await until(() => relay.turnedAway >= 4, 'her to try again');
      assert.equal(scene.logins(her.woman), 0);
    });

    test(`${client.name}: a WebSocket that is refused, and can be had later`, { timeout: 5 * PATIENCE }, async (t) => {
      const relay = await way(t);
      for (const refusal of REFUSALS) {
        relay.break(refusal);
        const her = await enter(t, client, user(client, 'start'), relay);
        const { jid } = await arrives(her, 'bosh');
        await her.logout();
        await scene.goes(jid);
      }
      const before = scene.logins(user(client, 'start'));
      const her = await enter(t, client, user(client, 'start'), relay);
      const { jid } = await arrives(her, 'bosh', before);
      const texts = scene.bob.tell(jid, 3);
      await hasHeard(her, texts);
      await livesOn(her, 'Robert');

      relay.mend();
      texts.push(...scene.bob.tell(jid, 3));
      await scene.echo();
      await scene.restart('SIGKILL');
      await arrives(her, 'websocket');
      texts.push(...scene.bob.tell(`${her.woman}@${domain}`, 3));
      await hasHeard(her, texts);
      await livesOn(her, 'Bobby');
    });

    test(`${client.name}: a WebSocket that breaks, and is refused for a while`, { timeout: 5 * PATIENCE }, async (t) => {
      const her = await enter(t, client, user(client, 'break'), await way(t));
      const { jid } = await arrives(her, 'websocket');
      const texts = scene.bob.tell(jid, 3);
      await hasHeard(her, texts);

      her.relay.stall();
      texts.push(...scene.bob.tell(jid, 3));
      her.relay.break(REFUSALS[1]);
      texts.push(...scene.bob.tell(jid, 3));
      await arrives(her, 'bosh', 1);
      texts.push(...scene.bob.tell(jid, 3));
      await hasHeard(her, texts);
      await livesOn(her, 'Robert');

      her.relay.mend();
      texts.push(...scene.bob.tell(`${her.woman}@${domain}`, 3));
      await scene.echo();
      await scene.restart('SIGKILL');
      await arrives(her, 'websocket');
      texts.push(...scene.bob.tell(`${her.woman}@${domain}`, 3));
      await hasHeard(her, texts);
      await livesOn(her, 'Bobby');
    });

    test(`${client.name}: a tab by each front`, { timeout: 3 * PATIENCE }, async (t) => {
      const [open, closed] = [await way(t), await way(t)];
      closed.break(REFUSALS[0]);
      const woman = user(client, 'both');
      const one = await enter(t, client, woman, open);
      const two = await enter(t, client, woman, closed);
      const jids = [(await arrives(one, 'websocket')).jid, (await arrives(two, 'bosh', 1)).jid];
      assert.notEqual(...jids);
      const toAll = scene.bob.tell(`${woman}@${domain}`, 3);
      await hasHeard(one, [...toAll, ...scene.bob.tell(jids[0], 3)]);
      await hasHeard(two, [...toAll, ...scene.bob.tell(jids[1], 3)]);
      await scene.site.change(woman, { [bob]: { name: 'Bob of two' }, 'carol@example.org': { name: 'Carol' } });
      for (const her of [one, two]) {
        await her.when('the change', ({ roster }) => roster[bob] === 'Bob of two' && roster['carol@example.org'] === 'Carol');
      }
      await two.page.close();
      await scene.goes(jids[1]);
      await livesOn(one, 'Robert');
    });
  }
});
