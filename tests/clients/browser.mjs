// Pages in headless Chromium.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join, resolve } from 'node:path';

import { PATIENCE, root, until } from './support.mjs';

const { chromium } = createRequire(join(root, 'demo/package.json'))('playwright-core');
const TYPES = {
  '.cjs': 'text/javascript', '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript',
};

/** Chromium, and a web server with the files of a page. */
export class Browser {
  /**
   * `files`: their paths, those in the checkout without a slash before them, by URL path; a path that ends with `/` is a folder.
   * `visible`: all tabs are, as if each had a screen. Without it only the one in front is, and the
   * timers of the others are slow. `switches`: more of Chromium's.
   */
  static async start(site, files, { visible = false, switches = [] } = {}) {
    assert.ok(existsSync('/usr/bin/chromium'), 'Chromium is missing: make deps installs it');
    const browser = new Browser();
    const program = site.start('chromium', '/usr/bin/chromium', [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--remote-debugging-port=0', `--user-data-dir=${join(site.folder, 'chromium')}`, ...switches,
      'about:blank',
    ]);
    await program.says('DevTools listening on ws://');
    const [address] = /ws:\/\/\S+/.exec(program.output());
    browser.chromium = await chromium.connectOverCDP(address, { noDefaults: !visible });
    [browser.context] = browser.chromium.contexts();
    browser.gates = new Map();
    browser.server = createServer(async (req, res) => {
      const { pathname } = new URL(req.url, 'http://localhost');
      const folder = (path) => path.length > 1 && path.endsWith('/');
      const prefix = Object.keys(files)
        .find((path) => pathname === path || (folder(path) && pathname.startsWith(path)));
      const file = prefix && resolve(root, files[prefix], pathname.slice(prefix.length));
      if (!file || !existsSync(file)) {
        res.writeHead(404).end();
        return;
      }
      await browser.gates.get(pathname);
      res.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
      res.end(readFileSync(file));
    });
    await new Promise((done) => { browser.server.listen(0, '127.0.0.1', done); });
    browser.url = `http://127.0.0.1:${browser.server.address().port}/`;
    return browser;
  }

  /** Has all who ask for a file wait while work is done. */
  async holdBack(path, work) {
    let open;
    this.gates.set(path, new Promise((done) => { open = done; }));
    await work().finally(() => {
      this.gates.delete(path);
      open();
    });
  }

  /** A tab in front of the others, with the page at `path`; `parameters` go into its address. */
  async open(parameters, path = '') {
    const page = await this.context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(`${this.url}${path}?${new URLSearchParams(parameters)}`);
    await page.bringToFront();
    return page;
  }

  async stop() {
    await this.chromium.close();
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Chromium's switch: takes the network away from a page, or gives it back. */
export async function setOffline(page, offline) {
  page.devtools ??= await page.context().newCDPSession(page);
  await page.devtools.send('Network.enable');
  await page.devtools.send('Network.emulateNetworkConditions', {
    offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1,
  });
}

/** Hides a page behind another tab until `work` is done, and shows that its timers are slow meanwhile. */
export async function hidden(page, work) {
  await page.evaluate(() => {
    window.ticks = 0;
    window.ticking = setInterval(() => { window.ticks += 1; }, 20);
  });
  const other = await page.context().newPage();
  await other.bringToFront();
  await until(() => page.evaluate(() => document.visibilityState === 'hidden'), 'the tab to be hidden');
  const [since, before] = [Date.now(), await page.evaluate(() => window.ticks)];
  const result = await work();
  const ticks = await page.evaluate(() => window.ticks) - before;
  const seconds = (Date.now() - since) / 1000;
  assert.ok(seconds > 3 && ticks < 3 * seconds, `${ticks} ticks in ${seconds} s are not slow`);
  await page.evaluate(() => clearInterval(window.ticking));
  await other.close();
  await page.bringToFront();
  return result;
}
