// Pages in headless Chromium or Firefox.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join, resolve } from 'node:path';

import { PATIENCE, root, until } from './support.mjs';

const { chromium, firefox } = createRequire(join(root, 'demo/package.json'))('playwright-core');
const TYPES = {
  '.cjs': 'text/javascript', '.css': 'text/css', '.html': 'text/html', '.js': 'text/javascript',
};

export const BROWSERS = ['chromium', 'firefox'];
let started = 0;

/** A browser, and a web server with the files of a page. */
export class Browser {
  /**
   * `files`: their paths, those in the checkout without a slash before them, by URL path; a path that ends with `/` is a folder.
   * `routes`: what answers other paths, as of an `http` server. `kind`: chromium or firefox. Of Chromium: `visible`: all tabs are, as if each had a screen. Without it only the one
   * in front is, and the timers of the others are slow. `switches`: more of its own.
   */
  static async start(site, files, { kind = 'chromium', visible = false, switches = [], routes = {} } = {}) {
    const browser = new Browser();
    if (kind === 'firefox') await browser.startFirefox(site);
    else await browser.startChromium(site, { visible, switches });
    await browser.serve(files, routes);
    return browser;
  }

  async startChromium(site, { visible, switches }) {
    assert.ok(existsSync('/usr/bin/chromium'), 'Chromium is missing: make deps installs it');
    started += 1;
    const name = `chromium-${started}`;
    const program = site.start(name, '/usr/bin/chromium', [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--remote-debugging-port=0', `--user-data-dir=${join(site.folder, name)}`, ...switches,
      'about:blank',
    ]);
    await program.says('DevTools listening on ws://');
    const [address] = /ws:\/\/\S+/.exec(program.output());
    this.pid = program.child.pid;
    this.driver = await chromium.connectOverCDP(address, { noDefaults: !visible });
    [this.context] = this.driver.contexts();
  }

  /** Debian's Firefox, driven by WebDriver BiDi; the kernel ends it should this process be killed. */
  async startFirefox(site) {
    assert.ok(existsSync('/usr/bin/firefox-esr'), 'Firefox is missing: make deps installs it');
    const pid = join(site.folder, 'firefox.pid');
    const start = `echo $$ > ${pid}\nexec setpriv --pdeathsig KILL -- firefox-esr "$@"`;
    const executablePath = site.file('firefox', `#!/bin/sh\n${start}\n`);
    chmodSync(executablePath, 0o755);
    this.driver = await firefox.launch({ channel: 'moz-firefox', executablePath });
    this.pid = Number(readFileSync(pid, 'utf8'));
    this.context = await this.driver.newContext();
  }

  async serve(files, routes) {
    this.gates = new Map();
    this.server = createServer(async (req, res) => {
      const { pathname } = new URL(req.url, 'http://localhost');
      if (Object.hasOwn(routes, pathname)) {
        await routes[pathname](req, res);
        return;
      }
      const folder = (path) => path.length > 1 && path.endsWith('/');
      const prefix = Object.keys(files)
        .find((path) => pathname === path || (folder(path) && pathname.startsWith(path)));
      const file = prefix && resolve(root, files[prefix], pathname.slice(prefix.length));
      if (!file || !existsSync(file)) {
        res.writeHead(404).end();
        return;
      }
      await this.gates.get(pathname);
      res.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
      res.end(readFileSync(file));
    });
    await new Promise((done) => { this.server.listen(0, '127.0.0.1', done); });
    this.url = `http://127.0.0.1:${this.server.address().port}/`;
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

  /** Ends the browser as a crash does, with all of its pages. */
  async kill() {
    const gone = new Promise((done) => { this.driver.once('disconnected', done); });
    process.kill(this.pid, 'SIGKILL');
    await gone;
  }

  async stop() {
    await this.driver.close();
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
