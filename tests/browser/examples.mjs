// The examples of sites, each started as its README says, in front of Debian's Prosody, for members with Chromium.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Browser } from '../clients/browser.mjs';
import { PATIENCE, Site, domain, freePorts, root, until } from '../clients/support.mjs';

/** The secret of the READMEs. */
const CHAT_SECRET = 'change-this-secret';
/** How each is started: what is done once, what then runs, and what that says when it listens. */
export const EXAMPLES = {
  php: { run: (port) => ['php', '-S', `127.0.0.1:${port}`, '-t', '../page', 'site.php'] },
  django: {
    // Debian's Python, which has Debian's Django.
    once: ['/usr/bin/python3', 'manage.py', 'migrate', '--run-syncdb'],
    run: (port) => ['/usr/bin/python3', 'manage.py', 'runserver', '--noreload', `${port}`],
  },
  node: { run: () => ['node', 'site.mjs'] },
};

/** Debian's own configuration and the lines of the examples; where it listens and what it writes is of the test. */
const PROSODY = {
  ports: 1,
  listens: (port) => `Activated service 'c2s' on [127.0.0.1]:${port}`,
  refused: 'Failed to open server port',
  start(site, [port]) {
    const lua = JSON.stringify; // paths: a JSON string is a Lua string
    const folder = join(site.folder, 'conf.d');
    mkdirSync(folder, { recursive: true });
    site.file('conf.d/example.cfg.lua', readFileSync(join(root, 'examples/prosody.cfg.lua')));
    site.file('conf.d/~machine.cfg.lua', `
run_as_root = true
pidfile = ${lua(join(site.folder, 'prosody.pid'))}
data_path = ${lua(join(site.folder, 'data'))}
admin_socket = ${lua(join(site.folder, 'prosody.sock'))}
log = { info = "*console" }
interfaces = { "127.0.0.1" }
c2s_ports = { ${port} }
c2s_direct_tls_ports, s2s_ports, s2s_direct_tls_ports, http_ports, https_ports = {}, {}, {}, {}, {}
plugin_paths = { ${lua(join(root, 'contrib/prosody'))} }
rostergate_auth_url = "http://127.0.0.1:${site.port}/xmpp_auth"
`);
    const config = replaced(readFileSync('/etc/prosody/prosody.cfg.lua', 'utf8'),
      ['Include "conf.d/*.cfg.lua"', `Include ${lua(join(folder, '*.cfg.lua'))}`]);
    return site.start('prosody', 'prosody', ['--config', site.file('prosody.cfg.lua', config), '-F']);
  },
};

function replaced(text, ...changes) {
  let now = text;
  for (const [from, to] of changes) {
    assert.ok(now.includes(from), `${from} is there`);
    now = now.replaceAll(from, to);
  }
  return now;
}

/** An example with its servers, and Chromium, for which they are where the READMEs say. */
export class Example extends Site {
  static async start(name) {
    const example = Object.assign(new Example(), { folder: mkdtempSync(join(tmpdir(), 'rostergate-example-')) });
    try {
      await example.run(name);
      await example.startBrowser();
    } catch (error) {
      await example.stop();
      throw error;
    }
    return example;
  }

  async run(name) {
    const { once, run } = EXAMPLES[name];
    const place = join(this.folder, name);
    // What somebody who has tried it has left there is not for the test.
    const filter = (path) => !/site\.sqlite3|online\.json|\/cache|page\/node_modules/.test(path);
    cpSync(join(root, 'examples', name), place, { recursive: true, filter });
    cpSync(join(root, 'examples/page'), join(this.folder, 'page'), { recursive: true, filter });
    symlinkSync(join(root, 'demo/node_modules'), join(this.folder, 'page/node_modules'));
    const env = { ...process.env, CHAT_SECRET };
    if (once) execFileSync(once[0], once.slice(1), { cwd: place, env, stdio: 'pipe' });

    const [gateway, site] = await freePorts(2);
    this.port = gateway;
    const [c2s] = await this.runServer(PROSODY);
    this.settings = (address) => `[server]\nlisten = ["${address}"]\n${replaced(
      readFileSync(join(root, 'examples/rostergate.toml'), 'utf8'), [':5222', `:${c2s}`], [':8000', `:${site}`])}`;
    await this.runGateway(`127.0.0.1:${gateway}`);
    const [command, ...args] = run(site);
    Object.assign(env, { CHAT_GATEWAY: `http://127.0.0.1:${gateway}/roster_admin`, PORT: site });
    this.start('site', command, args, { cwd: place, env });
    this.url = `http://127.0.0.1:${site}`;
    await until(() => fetch(`${this.url}/`).then(({ ok }) => ok, () => false), 'the site');
    this.places = { 'localhost:8000': `127.0.0.1:${site}`, 'localhost:5290': `127.0.0.1:${gateway}` };
  }

  async startBrowser() {
    const places = Object.entries(this.places).map(([said, meant]) => `MAP ${said} ${meant}`);
    this.browser = await Browser.start(this, {}, { visible: true, switches: [`--host-resolver-rules=${places}`] });
  }

  /** Somebody who has a browser, and joins. */
  async join(name) {
    const context = await this.browser.driver.newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const member = Object.assign(new Member(), { example: this, name, user: name.toLowerCase(), context, page });
    await page.goto('http://localhost:8000/');
    await member.fill('/join', { username: member.user, name, password: 'correct horse' });
    await member.send('Join');
    return member;
  }

  /** Ends somebody's sessions, who is to log in again. */
  async endSessions(user) {
    const url = `http://127.0.0.1:${this.port}/roster_admin/sessions?user=${user}&again=true`;
    return (await fetch(url, { method: 'DELETE' })).json();
  }

  /** Tells the site of events, as a gateway of that name does. */
  async tell(gateway, events) {
    const headers = { authorization: `Bearer ${CHAT_SECRET}`, 'content-type': 'application/json' };
    const url = `${this.url}/chat-events?gateway=${gateway}`;
    const { ok, status } = await fetch(url, { method: 'POST', headers, body: JSON.stringify(events) });
    assert.ok(ok, `the site answers ${status}`);
  }

  async stop() {
    await this.browser?.stop();
    await super.stop();
  }
}

class Member {
  async fill(action, fields) {
    for (const [field, value] of Object.entries(fields)) {
      await this.page.locator(`form[action="${action}"] [name=${field}]`).fill(value);
    }
  }

  async send(button) {
    await this.page.getByRole('button', { name: button, exact: true }).click();
    await this.page.waitForLoadState();
  }

  async add({ user, name }) {
    await this.fill('/add', { username: user });
    await this.send('Add');
    await this.page.locator('li', { hasText: name }).waitFor();
  }

  async remove({ name }) {
    const friend = this.page.locator('li', { hasText: name });
    await friend.getByRole('button', { name: 'Remove' }).click();
    await friend.waitFor({ state: 'detached' });
  }

  /** Follows the link to the chat. */
  async openChat() {
    const opened = this.context.waitForEvent('page');
    await this.page.getByRole('link', { name: 'Chat' }).click();
    this.chat = await opened;
    this.chat.setDefaultTimeout(PATIENCE);
  }

  /** A friend in the chat; `status`: only if Converse shows that. */
  inChat({ user }, status = '') {
    return this.chat.locator(`li.list-item${status && `[data-status=${status}]`} a.open-chat[data-jid="${user}@${domain}"]`).first();
  }
}
