// Strophe of the time before it had stream management, over WebSocket, in a browser that is killed. Its browser confirms by
// pongs what has come; the rest comes again.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Browser } from './browser.mjs';
import { clientsIn, filesOf } from './clients.mjs';
import { Person, Scene } from './scene.mjs';
import { PATIENCE, Relay, domain, fronts, until } from './support.mjs';

const TESTS = ['flood', 'confirmed', 'blocked'];
const [TEXT, PING, PONG] = [0x1, 0x9, 0xa];
const user = ({ name }, of) => `${name}${of}`.replaceAll(/[^a-z0-9]/g, '');

const numberIn = (text) => Number(/\d+/.exec(text));
const byNumber = (one, other) => numberIn(one) - numberIn(other);

/** The frames in what one side of a WebSocket has sent. */
function frames(chunks) {
  const bytes = Buffer.concat(chunks);
  const all = [];
  for (let at = bytes.indexOf('\r\n\r\n') + 4; at + 2 <= bytes.length;) {
    const opcode = bytes[at] & 0xf;
    const masked = bytes[at + 1] >> 7;
    let size = bytes[at + 1] & 0x7f;
    at += 2;
    if (size === 126) {
      size = bytes.readUInt16BE(at);
      at += 2;
    }
    const mask = bytes.subarray(at, at + 4 * masked);
    at += mask.length;
    const payload = bytes.subarray(at, at + size).map((byte, index) => byte ^ (masked && mask[index % 4]));
    all.push({ opcode, payload: Buffer.from(payload) });
    at += size;
  }
  return all;
}

/** Which of these texts were written before the last ping of which this holds. */
function writtenBefore(ping, { bytes: [, gateway] }, texts) {
  const sent = frames(gateway);
  const end = sent.findLastIndex((frame) => frame.opcode === PING && ping(frame));
  const stanzas = sent.slice(0, Math.max(end, 0)).filter(({ opcode }) => opcode === TEXT).map(({ payload }) => payload.toString());
  return texts.filter((text) => stanzas.some((stanza) => stanza.includes(`${text.split(' &')[0]} `)));
}

const asked = (relay, texts) => writtenBefore(() => true, relay, texts);

function confirmed(relay, texts) {
  const pong = frames(relay.bytes[0]).findLast(({ opcode }) => opcode === PONG);
  return writtenBefore(({ payload }) => pong?.payload.equals(payload), relay, texts);
}

for (const server of ['prosody', 'ejabberd']) for (const place of ['chromium', 'firefox']) describe(`${place}, ${server}`, () => {
  const clients = clientsIn(place).filter(({ page, resumes }) => page === 'strophe' && !resumes);
  const files = filesOf(clients);
  let scene;

  before(async () => {
    const women = clients.flatMap((client) => TESTS.map((of) => user(client, of)));
    scene = await Scene.start(women, files, { kind: place, site: { server } });
  });

  after(() => scene?.stop());

  /** Somebody in a browser of her own. */
  async function open(t, client, of) {
    const relay = await Relay.start(Number(new URL(scene.site.fronts.websocket).port), { records: true });
    t.after(() => relay.stop());
    const browser = await Browser.start(scene.site, files, { kind: place });
    t.after(() => browser.stop());
    const woman = user(client, of);
    const parameters = { ...scene.parameters(woman), url: fronts(relay.port).websocket };
    const her = Person.onPage(await browser.open(parameters, `${client.name}/chat`));
    const { jid } = await her.when('Bob', ({ online }) => online.some((from) => from.startsWith('bob@')));
    await scene.comes(jid);
    return Object.assign(her, { browser, relay, client, woman, jid });
  }

  const shows = (her, texts) => her.when(texts.at(-1), ({ heard }) => texts.every((text) => heard.includes(text)));

  /** Kills her browser; gives what she hears when she logs in again. */
  async function dies(t, her) {
    await her.browser.kill();
    await scene.goes(her.jid);
    // After it has told that she is gone, ejabberd stores what she did not confirm, and then closes her stream. It may lose
    // what it stores in the very moment of a login.
    await scene.ends(her.woman);
    const again = await scene.person(t, her.client, her.woman, scene.site.fronts.websocket);
    await scene.comes((await again.when('Bob', ({ online }) => online.length > 0)).jid);
    const last = scene.bob.tell(`${her.woman}@${domain}`, 1);
    const { heard } = await shows(again, last);
    return heard.slice(0, -1);
  }

  for (const client of clients) {
    test(`${client.name}: while 60 messages come, all but the confirmed ones come again`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'flood');
      const texts = scene.bob.tell(her.jid, 60);
      await shows(her, texts.slice(0, 5));
      const { heard } = await her.look();
      const again = await dies(t, her);
      const had = confirmed(her.relay, texts);
      t.diagnostic(`${heard.length} shown at least, ${had.length} confirmed, ${again.length} come again`);
      assert.deepEqual(had, texts.slice(0, had.length));
      // ejabberd stores at once what comes after the end of the session, and then what came before.
      if (server === 'ejabberd') again.sort(byNumber);
      assert.deepEqual(again, texts.slice(had.length), 'in order, each once');
    });

    test(`${client.name}: what it has shown and confirmed does not come again`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'confirmed');
      const shown = scene.bob.tell(her.jid, 20);
      await shows(her, shown);
      await until(() => confirmed(her.relay, shown).length === shown.length, 'the browser to confirm');
      her.relay.stall();
      const texts = scene.bob.tell(her.jid, 60);
      await until(() => asked(her.relay, texts).length === texts.length, 'the gateway to ask for all');
      assert.deepEqual(await dies(t, her), texts);
    });

    test(`${client.name}: what the browser has confirmed for a page that did not run is lost with it`, { timeout: 3 * PATIENCE }, async (t) => {
      const her = await open(t, client, 'blocked');
      her.page.evaluate(() => { for (;;); }).catch(() => {});
      const texts = scene.bob.tell(her.jid, 20);
      await until(() => confirmed(her.relay, texts).length === texts.length, 'the browser to confirm');
      assert.deepEqual(await dies(t, her), []);
    });
  }
});
