// The demo, started as `make demo` starts it but for the build, and Chromium to visit it with.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const { chromium } = createRequire(join(root, 'demo/package.json'))('playwright-core');
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const PATIENCE = 30_000;

/** Starts the demo with these further options. */
export async function startDemo(...options) {
  const folder = mkdtempSync(join(tmpdir(), 'rostergate-browser-'));
  const file = join(folder, 'ports.json');
  const binary = join(target, 'debug/rostergate');
  const args = [join(root, 'demo/run.mjs'), '--binary', binary, '--port', '0', '--ports-file', file, ...options];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (data) => { said += data; });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const isReady = until(() => existsSync(file), 'the demo to start');
  await Promise.race([isReady, ended.then(() => assert.fail(`the demo does not start:\n${said}`))]);
  const { url, gateway, pids } = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(folder, { recursive: true });
  const stop = async () => {
    child.kill('SIGINT');
    return ended;
  };
  return { url, gateway, pids: { ...pids, run: child.pid }, stop };
}

export async function until(probe, what) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await pause(50);
  }
}

export const isAlive = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

export function startBrowser() {
  assert.ok(existsSync('/usr/bin/chromium'), 'Chromium is missing: make deps installs it');
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** The demo's page, as wide as a desk, and what is on it. */
export class Visit {
  static async to(url, browser) {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(PATIENCE);
    await page.goto(url);
    return new Visit(page);
  }

  constructor(page) {
    this.page = page;
  }

  /** What the site says of somebody's friends. */
  row = (user, friend) => this.page.locator(`.person[data-user=${user}] [data-friend=${friend}]`);
  figure = (user) => this.page.locator(`.chat[data-user=${user}]`);
  chat = (user) => this.page.frameLocator(`iframe[name=${user}]`);

  /** A contact in somebody's chat, as the roster shows it. */
  contact = (user, friend, { status = '', group = '' } = {}) => {
    const inGroup = group ? `.roster-group[data-group="${group}"] ` : '';
    const withStatus = status ? `[data-status="${status}"]` : '';
    return this.chat(user).locator(`${inGroup}li.list-item${withStatus}`)
      .filter({ has: this.page.locator(`a.open-chat[data-jid="${friend}@example.org"]`) });
  };

  /** Has somebody write to the other, whose chat is open. */
  write = async (user, text) => {
    await this.chat(user).locator('.chat-textarea').fill(text);
    await this.chat(user).locator('.chat-textarea').press('Enter');
  };

  messages = (user, text) => this.chat(user).locator('.chat-msg__text', { hasText: text });
}
