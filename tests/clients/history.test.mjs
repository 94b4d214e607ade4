// Two pages of a site in Chromium, between which somebody goes forth and back: the browser keeps the pages that are
// left, asleep, with their requests (back/forward cache). What those are answered nobody sees, and the page that is
// shown goes on with the session where they left it.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { Scene } from './scene.mjs';
import { until } from './support.mjs';

const WALKS = 10; // there and back
const FORTH = "location.href = '/other' + location.search";
const BACK = 'history.back()';

let scene;

/** A tab whose pages come and go, seen past all of them. */
class Tab {
  static async open(t, user, parameters = {}) {
    const tab = Object.assign(new Tab(), { user, woken: 0 });
    const page = await scene.browser.open({ ...scene.parameters(user), named: 'yes', ...parameters });
    t.after(() => page.close());
    tab.devtools = await page.context().newCDPSession(page);
    await tab.devtools.send('Page.enable');
    tab.devtools.on('Page.frameNavigated', ({ type }) => {
      tab.woken += Number(type === 'BackForwardCacheRestore');
    });
    await tab.isReady();
    tab.jid = await tab.see('window.app.jid');
    await scene.comes(tab.jid);
    return tab;
  }

  /** The value of an expression in the page that is shown; none while there is no page. */
  async see(expression) {
    const asked = this.devtools.send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    return (await asked.catch(() => undefined))?.result?.value;
  }

  /** Waits for an expression to be true. */
  when(expression) {
    return until(() => this.see(`Boolean(${expression})`), expression);
  }

  isReady() {
    return this.when('window.app?.jid');
  }

  /** Goes to another page; that is shown at the end, but its scripts may not have come. */
  async go(how, path) {
    await this.see(`window.left = true; setTimeout(() => { ${how}; })`);
    await this.when(`location.pathname === '${path}' && (!window.left || window.app?.woken)`);
  }

  /** Waits until the page that is shown has heard all of this; it has heard nothing twice. */
  async hears(texts) {
    let here;
    await until(async () => {
      here = await this.see('window.app?.here') ?? [];
      return texts.every((text) => here.includes(text));
    }, () => `${this.user} to hear ${texts}, and not only ${here}`);
    assert.equal(new Set(here).size, here.length, `a page hears nothing twice: ${here}`);
  }

  /** How often she has logged in. */
  logins() {
    return scene.site.gateway.output().match(new RegExp(`session bound.*"${this.user}@`, 'g')).length;
  }
}

/** Has Bob say something to a session, which has been sent what she is sent by then. */
async function tell(jid) {
  const texts = scene.bob.tell(jid, 1);
  // The server keeps the order of what one client sends.
  const [echo] = scene.bob.tell(scene.bob.jid, 1);
  await until(() => scene.bob.heard.includes(echo), 'Bob to hear himself');
  return texts;
}

/** Has Bob say one thing after the other while work is done; gives all. */
async function telling(jid, interval, work) {
  const texts = [];
  const done = work().then(() => true);
  while (!await Promise.race([done, pause(interval(), false)])) texts.push(...scene.bob.tell(jid, 1));
  return texts;
}

/** Goes there and back, and is told something each time when the one page is left and the other not there yet. */
async function walk(tab) {
  for (const [how, path] of [[FORTH, '/other'], [BACK, '/']]) {
    const texts = [];
    await scene.browser.holdBack('/page.js', async () => {
      await tab.go(how, path);
      texts.push(...await tell(tab.jid));
    });
    await tab.isReady();
    await tab.hears(texts);
  }
}

const CLIENTS = {
  strophe: { '/strophe.js': 'tests/clients/node_modules/strophe.js/dist/strophe.umd.min.js' },
  converse: { '/converse/': 'demo/node_modules/converse.js/dist' },
};

for (const [client, files] of Object.entries(CLIENTS)) {
  describe(client, () => {
    before(async () => {
      const page = `tests/clients/page/${client}`;
      const pages = { '/': `${page}.html`, '/other': `${page}.html`, '/page.js': `${page}.js` };
      scene = await Scene.start(['anna', 'berta', 'clara'], { ...pages, ...files });
    });
    after(() => scene?.stop());

    test('what comes while one page is left and the other not there yet is heard by that', async (t) => {
      const tab = await Tab.open(t, 'anna');
      for (let number = 0; number < WALKS; number += 1) await walk(tab);
      assert.ok(tab.woken > WALKS / 2, 'the browser keeps most pages');
      assert.equal(tab.logins(), 1, 'the session goes on');
    });

    test('who walks about while all talk misses nothing, and nothing that she says is lost', async (t) => {
      const tab = await Tab.open(t, 'berta', { talks: scene.bob.jid });
      const texts = await telling(tab.jid, () => Math.random() * 200, async () => {
        for (let number = 0; number < WALKS; number += 1) {
          for (const [how, path] of [[FORTH, '/other'], [BACK, '/']]) {
            await tab.go(how, path);
            await tab.isReady();
            await pause(Math.random() * 500);
          }
        }
      });
      let lost;
      await until(async () => {
        const heard = new Set(await tab.see('window.app.noted'));
        lost = texts.filter((text) => !heard.has(text));
        return lost.length === 0;
      }, () => `${lost.length} of ${texts.length}`);
      const heard = await tab.see('window.app.noted');
      t.diagnostic(`${texts.length} messages, heard ${heard.length} times`);
      assert.ok(tab.woken > WALKS / 2, 'the browser keeps most pages');
      assert.equal(tab.logins(), 1);
      if (client === 'converse') {
        const shown = await tab.see('window.app.shown()');
        assert.equal(new Set(shown).size, shown.length, 'shown once');
        return;
      }
      const first = heard.filter((text, index) => heard.indexOf(text) === index);
      assert.deepEqual(first, texts, 'in order');
      const said = new Set(await tab.see('window.app.said'));
      await until(() => [...said].every((text) => scene.bob.heard.includes(text)), 'Bob to hear');
      const bob = scene.bob.heard.filter((text) => said.has(text));
      t.diagnostic(`${said.size} messages to Bob, heard ${bob.length} times`);
      assert.ok(said.size > WALKS);
      assert.equal(bob.length, said.size, 'each once');
    });

    if (client !== 'strophe') return;
    for (const polls of [0, 1, 2, 5]) {
      test(`a page that wakes up goes on, though another has used the session for ${polls} messages`, async (t) => {
        const tab = await Tab.open(t, 'clara', { wakes: 'stays' });
        // The browser keeps most pages, not all.
        for (let attempt = 0; attempt < WALKS && tab.woken === 0; attempt += 1) {
          await tab.isReady();
          await tab.go(FORTH, '/other');
          await tab.isReady();
          for (let poll = 0; poll < polls; poll += 1) await tab.hears(await tell(tab.jid));
          await tab.go(BACK, '/');
        }
        const text = `awake after ${polls}`;
        await tab.see(`window.app.say('${scene.bob.jid}', ['${text}'])`);
        await until(() => scene.bob.heard.includes(text), 'Bob to hear');
        for (let poll = 0; poll < 3; poll += 1) await tab.hears(await tell(tab.jid));
        assert.equal(scene.bob.heard.filter((heard) => heard === text).length, 1);
        assert.equal(tab.woken, 1);
        const { length } = await tab.see('window.app.states.filter((state) => state === "DISCONNECTED")');
        assert.equal(length, 0, 'the session goes on');
      });
    }
  });
}
