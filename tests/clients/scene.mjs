// Women on a page in a browser, each with a test of her own, and Bob on the other side of every chat.

import * as stanza from 'stanza';

import { Browser } from './browser.mjs';
import { Site, domain, until } from './support.mjs';

let told = 0;

export class Scene {
  /**
   * `files` and `routes`: those of the page, as for `Browser`, which is of some `kind`; `site`: more of that. Sessions do not live
   * long without their clients. Without files, there is no browser.
   */
  static async start(women, files, { kind, routes, site = {} } = {}) {
    const scene = Object.assign(new Scene(), { bobs: [] });
    try {
      scene.site = await Site.start({
        bosh: 'wait = "4s"\ninactivity = "5s"',
        users: everybody(women),
        ...site,
      });
      if (Object.keys(files).length) scene.browser = await Browser.start(scene.site, files, { kind, routes });
      await scene.enterBob();
    } catch (error) {
      await scene.stop();
      throw error;
    }
    return scene;
  }

  /** Somebody logs in as Bob, who has heard this before. */
  async enterBob(heard = []) {
    this.bob = await friend(this.site, 'bob');
    this.bob.heard.unshift(...heard);
    this.bobs.push(this.bob);
  }

  /** Ends the gateway and starts it anew, as `Site` does; Bob's session is lost, and he has another one. */
  async restart(signal) {
    await this.site.restart(signal);
    await this.enterBob(this.bob.heard);
  }

  /** Waits until the server has what Bob has said: it keeps the order of what one client sends. */
  async echo() {
    const [text] = this.bob.tell(this.bob.jid, 1);
    await until(() => this.bob.heard.includes(text), 'Bob to hear himself');
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

  /** Somebody who logs in with a client of `clients.mjs` at a front's URL, for as long as the test runs; `more` is told a page. */
  async person(t, { name, page, start }, user, url, more = {}) {
    if (page) return Person.onPage(await this.open(t, user, `${name}/chat`, { url, ...more }));
    const program = start(this.site, url, user);
    t.after(() => program.logout());
    return Person.withProgram(program);
  }

  /** Loads the page again after it was left. */
  async reopen(page, user) {
    await page.goto(`${this.browser.url}?${new URLSearchParams(this.parameters(user))}`);
  }

  /** How often somebody has logged in since the gateway runs. */
  logins(user) {
    return this.site.gateway.output().match(new RegExp(`session bound.*"${user}@`, 'g'))?.length ?? 0;
  }

  /** Waits for a session to be there. */
  async comes(jid) {
    await until(() => this.bob.online.has(jid), `Bob to see ${jid}`);
  }

  /** Waits for the end of a session. */
  async goes(jid) {
    await until(() => !this.bob.online.has(jid), `Bob to see ${jid} go`);
  }

  /** Waits until the server, too, has closed all streams of somebody. The gateway waits for that for 2 s at most. */
  async ends(user) {
    const url = `http://127.0.0.1:${this.site.port}/roster_admin/sessions?user=${user}@${domain}`;
    await until(async () => (await (await fetch(url)).json()).sessions.length === 0, `the sessions of ${user} to end`);
  }

  async stop() {
    await this.browser?.stop();
    this.bob?.disconnect();
    try {
      // stanza.js asks on for half a minute and more where nobody answers, and then throws where nobody catches it.
      await until(() => this.bobs.every(({ over }) => over), 'all of Bob\'s sessions to be over');
    } finally {
      await this.site?.stop();
    }
  }
}

/** The lists of a site where Bob knows these women, and they know him. */
function everybody(women) {
  const theirs = { [`bob@${domain}`]: { name: 'Bob <3', groups: ['Friends'] } };
  const his = Object.fromEntries(women.map((woman) => [`${woman}@${domain}`, { name: woman }]));
  return { ...Object.fromEntries(women.map((woman) => [woman, theirs])), bob: his };
}

/** Somebody with a client, as a test sees her: what it knows, and what it can be told to do. */
export class Person {
  static onPage(page) {
    return Object.assign(new Person(), {
      page,
      look: () => page.evaluate(async () => {
        await window.app?.look?.();
        return { ...window.app };
      }).catch(() => null), // there is no page while it is loaded again
      open: (to) => page.evaluate((contact) => window.app.open?.(contact), to),
      say: (to, texts) => page.evaluate(([contact, all]) => window.app.say(contact, all), [to, texts]),
      logout: () => page.evaluate(() => { window.app.logout(); }),
    });
  }

  static withProgram(program) {
    return Object.assign(new Person(), { look: () => program, open() {}, ...program });
  }

  /** Waits until `probe` holds for what her client knows; gives that. */
  async when(what, probe) {
    let app;
    await until(async () => {
      app = await this.look();
      return app && probe(app);
    }, () => `${what} in ${JSON.stringify(app)}`);
    return app;
  }
}

/** stanza.js, over BOSH too; `heard` are the messages, `online` who is there, by full JID, `presences` who came and went, `over` whether the session has ended. */
async function friend(site, user) {
  const client = stanza.createClient({
    jid: `${user}@${domain}`, password: site.password(user), transports: { bosh: site.url, websocket: false },
  });
  client.heard = [];
  client.online = new Set();
  client.presences = [];
  client.on('presence', ({ from, type }) => client.presences.push(`${from} ${type ?? 'available'}`));
  client.on('message', (message) => client.heard.push(message.body));
  client.on('available', ({ from }) => client.online.add(from));
  client.on('stream:end', () => { client.over = true; });
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
