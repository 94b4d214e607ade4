// Pages that are loaded again go on with their sessions, and see at once who is there. A client whose network broke knows
// that still, and is not told again.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { clientsIn, filesOf } from './clients.mjs';
import { Scene } from './scene.mjs';
import { PATIENCE, Relay, domain, fronts } from './support.mjs';

const bob = `bob@${domain}`;
const isBob = (from) => from.startsWith(bob);
const user = ({ name }, front) => `${name}${front}`.replaceAll(/[^a-z0-9]/g, '');
/** Those that go on with a session after a reload, by either front; some remember who is there. */
const CLIENTS = { chromium: ['strophe-5', 'converse-10', 'converse-14'], firefox: ['strophe-5'] };
/** The one whose pages say who they are as well. */
const NAMED = 'strophe-5';

for (const [place, names] of Object.entries(CLIENTS)) describe(place, () => {
  const clients = clientsIn(place).filter(({ name }) => names.includes(name));
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => client.fronts.flatMap((front) => [user(client, front), `named${front}`]));
    scene = await Scene.start(women, filesOf(clients), { kind: place });
  });

  after(() => scene?.stop());

  /** Somebody who sees Bob, on a network of her own. */
  async function open(t, client, front, woman, more = {}) {
    const relay = await Relay.start(scene.site.port);
    t.after(() => relay.stop());
    const her = await scene.person(t, client, woman, fronts(relay.port)[front], more);
    const { jid } = await her.when('Bob', ({ roster, online }) => roster[bob] && online.some(isBob));
    await scene.comes(jid);
    await her.open(bob);
    return Object.assign(her, { relay, woman, jid });
  }

  /** Her page was told once that Bob is there, before what he says now. */
  async function wasToldOnce(her) {
    const [text] = scene.bob.tell(her.jid, 1);
    const { presences } = await her.when(text, ({ here }) => here?.includes(text));
    assert.deepEqual(presences.filter(isBob), [`${scene.bob.jid} available`]);
  }

  async function reloads(her) {
    // For a moment after an answer, a page asks for nothing. One without a name leaves no trace then; to one with a name
    // that has not shown to have the answer, the next is sent the same.
    await her.when('a request', ({ asks }) => asks);
    await her.page.reload();
    await her.when('Bob', ({ online }) => online?.some(isBob));
    await wasToldOnce(her);
    assert.equal(scene.logins(her.woman), 1, 'the session goes on');
  }

  for (const client of clients) for (const front of client.fronts) {
    test(`${client.name} over ${front}: a network that breaks, then a reload`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, front, user(client, front));
      await wasToldOnce(her);
      her.relay.break();
      her.relay.mend();
      await wasToldOnce(her);
      await reloads(her);
    });

    if (client.name === NAMED) {
      test(`${client.name} over ${front}, with names for its pages: a reload that nobody hears of`, { timeout: 3 * PATIENCE }, async (t) => {
        const her = await open(t, client, front, `named${front}`, { named: 'yes' });
        await wasToldOnce(her);
        // A WebSocket would be closed by what the browser says, a request by the end of its connection.
        if (front === 'websocket') her.relay.stall();
        else her.relay.hide();
        await reloads(her);
      });
    }
  }
});
