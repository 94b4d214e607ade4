// Clients with stream management, over WebSocket, when the network breaks, the page is loaded again, or the gateway ends:
// what was on its way arrives, once and in order.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { PLACES, clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { PATIENCE, Relay, domain, fronts, until } from './support.mjs';

const TESTS = ['break', 'reload', 'kill', 'stop'];
const user = ({ name }, of) => `${name}${of}`.replaceAll(/[^a-z0-9]/g, '');
const bob = `bob@${domain}`;
const all = () => true;
/** What was not confirmed when a session ended comes again in the next one. */
const once = (text, index, texts) => texts.indexOf(text) === index;
const says = ({ woman }, count) => Array.from({ length: count }, (_, number) => `${woman} says ${number}`);
const isThere = ({ roster, online }) => roster[bob] && online.some((from) => from.startsWith(bob));

for (const place of PLACES) describe(place, () => {
  const clients = clientsIn(place).filter(({ resumes }) => resumes);
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => TESTS.map((of) => user(client, of)));
    scene = await Scene.start(women, filesOf(clients), { kind: place });
  });

  after(() => scene?.stop());

  /** Somebody who is logged in, on a network of her own. */
  async function open(t, client, of) {
    const relay = await Relay.start(Number(new URL(scene.site.fronts.websocket).port));
    t.after(() => relay.stop());
    const woman = user(client, of);
    const her = await scene.person(t, client, woman, fronts(relay.port).websocket);
    const { jid } = await her.when('Bob', isThere);
    await scene.comes(jid);
    await her.open(bob);
    return Object.assign(her, { relay, woman, jid });
  }

  /** She has heard all of this, each once and in order; `taking` says which of what she has heard counts. */
  async function hears(her, texts, taking = all) {
    const { noted } = await her.when(texts.at(-1), (app) => texts.every((text) => app.noted?.includes(text)));
    assert.deepEqual(noted.filter((text) => texts.includes(text)).filter(taking), texts, 'each once, in order');
  }

  async function bobHears(texts, taking = all) {
    await until(() => texts.every((text) => scene.bob.heard.includes(text)), () => `Bob to hear ${texts}, and not only ${scene.bob.heard}`);
    assert.deepEqual(scene.bob.heard.filter((text) => texts.includes(text)).filter(taking), texts, 'each once, in order');
  }

  for (const client of clients) {
    test(`${client.name}: a network that breaks`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'break');
      const texts = scene.bob.tell(her.jid, 5);
      await hears(her, texts);

      her.relay.stall();
      texts.push(...scene.bob.tell(her.jid, 5));
      const said = says(her, 3);
      await her.say(bob, said);
      her.relay.break();
      texts.push(...scene.bob.tell(her.jid, 5));
      her.relay.mend();

      await hears(her, texts);
      await bobHears(said);
      await scene.site.change(her.woman, { [bob]: { name: 'Robert' } });
      await her.when('the change', ({ roster }) => roster[bob] === 'Robert');
      assert.equal(scene.logins(her.woman), 1, 'the session goes on');
      assert.deepEqual(scene.bob.presences.filter((presence) => presence.startsWith(her.jid)), [`${her.jid} available`]);
    });

    if (client.page) test(`${client.name}: a page that is loaded again`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'reload');
      const texts = scene.bob.tell(her.jid, 5);
      const reload = her.page.reload();
      texts.push(...scene.bob.tell(her.jid, 5));
      await reload;
      texts.push(...scene.bob.tell(her.jid, 5));
      await hears(her, texts);
      await her.when('Bob', () => true);
      await her.say(bob, [`${her.woman} again`]);
      await bobHears([`${her.woman} again`]);
      assert.equal(scene.logins(her.woman), 1, 'the session goes on');
    });

    test(`${client.name}: a gateway that is killed and is there again`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'kill');
      her.relay.stall();
      const texts = scene.bob.tell(her.jid, 5);
      await scene.echo();
      const said = says(her, 3);
      await her.say(bob, said);
      await scene.restart('SIGKILL');
      her.relay.break();
      her.relay.mend();

      await hears(her, texts);
      await her.when('Bob', isThere);
      if (!client.rewrites) await her.say(bob, said);
      await bobHears(said);
      // The log is written by a thread of its own.
      await until(() => scene.logins(her.woman) === 1, 'her to have logged in once');
    });

    test(`${client.name}: a gateway that is stopped and started again`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'stop');
      const texts = scene.bob.tell(her.jid, 5);
      await scene.echo();
      const said = says(her, 3);
      await her.say(bob, said);
      await scene.restart('SIGTERM');
      await until(() => scene.logins(her.woman) === 1, 'her to log in again');
      texts.push(...scene.bob.tell(`${her.woman}@${domain}`, 5));
      await hears(her, texts, once);
      await bobHears(said, once);
    });
  }
});
