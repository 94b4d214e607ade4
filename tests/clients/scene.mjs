// Women on a page in Chromium, each with a test of her own, and Bob on the other side of every chat.

import * as stanza from 'stanza';

import { Browser } from './browser.mjs';
import { Site, domain, until } from './support.mjs';

let told = 0;

export class Scene {
  /** `files`: those of the page, as for `Browser`. Sessions do not live long without their clients. */
  static async start(women, files) {
    const scene = new Scene();
    try {
      scene.site = await Site.start({
        bosh: 'wait = "4s"\ninactivity = "5s"',
        users: everybody(women),
      });
      scene.browser = await Browser.start(scene.site, files);
      scene.bob = await friend(scene.site, 'bob');
    } catch (error) {
      await scene.stop();
      throw error;
    }
    return scene;
  }

  /** What the page is told in its address. */
  parameters(user) {
    return { url: this.site.url, jid: `${user}@${domain}`, password: this.site.password(user) };
  }

  /** A tab with somebody's page, for as long as the test runs; `more` is told in its address, too. */
  async open(t, user, path, more = {}) {
    const page = await this.browser.open({ ...this.parameters(user), ...more }, path);
    t.after(() => page.close());
    return page;
  }

  /** Loads the page again after it was left. */
  async reopen(page, user) {
    await page.goto(`${this.browser.url}?${new URLSearchParams(this.parameters(user))}`);
  }

  /** Waits for a session to be there. */
  async comes(jid) {
    await until(() => this.bob.online.has(jid), `Bob to see ${jid}`);
  }

  /** Waits for the end of a session. */
  async goes(jid) {
    await until(() => !this.bob.online.has(jid), `Bob to see ${jid} go`);
  }

  async stop() {
    await this.browser?.stop();
    this.bob?.disconnect();
    await this.site?.stop();
  }
}

/** The lists of a site where Bob knows these women, and they know him. */
function everybody(women) {
  const theirs = { [`bob@${domain}`]: { name: 'Bob <3', groups: ['Friends'] } };
  const his = Object.fromEntries(women.map((woman) => [`${woman}@${domain}`, { name: woman }]));
  return { ...Object.fromEntries(women.map((woman) => [woman, theirs])), bob: his };
}

/** stanza.js, over BOSH too; `heard` are the messages, `online` who is there, by full JID, `presences` who came and went. */
export async function friend(site, user) {
  const client = stanza.createClient({
    jid: `${user}@${domain}`, password: site.password(user), transports: { bosh: site.url, websocket: false },
  });
  client.heard = [];
  client.online = new Set();
  client.presences = [];
  client.on('presence', ({ from, type }) => client.presences.push(`${from} ${type ?? 'available'}`));
  client.on('message', (message) => client.heard.push(message.body));
  client.on('available', ({ from }) => client.online.add(from));
  client.on('unavailable', ({ from }) => client.online.delete(from));
  /** Writes so many messages, each unlike all others; gives their texts. */
  client.tell = (to, count) => {
    const texts = Array.from({ length: count }, () => `message ${told += 1} & <more>`);
    for (const body of texts) client.sendMessage({ to, type: 'chat', body });
    return texts;
  };
  const started = new Promise((done) => { client.on('session:started', done); });
  client.connect();
  await started;
  await client.getRoster();
  client.sendPresence();
  return client;
}
