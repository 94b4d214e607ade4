// The programs of the demo: each is started once, found ready, and none is left behind.

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const READY = 20_000; // ms, for each program to answer
const GRACE = 5_000; // ms, for each program to stop when asked

export const say = (text) => process.stdout.write(`${text}\n`);
const tail = (log) => readFileSync(log, 'utf8').trimEnd().split('\n').slice(-20).join('\n  ');

/** Those that run, in the order they were started: { name, log, child, ended }. */
export const running = [];
let folder;
let stopping = false;

/** Where logs go. It is removed at the end unless something failed. */
export function logTo(path) {
  folder = path;
}

/** A program that writes to a log, and that the kernel ends should this process be killed. `talks`: by messages, too. */
export function start(name, command, args, { talks = false } = {}) {
  const log = join(folder, `${name}.log`);
  const out = openSync(log, 'a');
  const guarded = ['--pdeathsig', 'KILL', '--', command, ...args];
  const stdio = ['ignore', out, out, ...(talks ? ['ipc'] : [])];
  // A process group of its own: Ctrl-C in a terminal reaches this process only, which then stops
  // the programs one after the other.
  const child = spawn('setpriv', guarded, { cwd: folder, detached: true, stdio });
  closeSync(out);
  const program = { name, log, child, mayEnd: false };
  program.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (code, signal) => resolve(signal ?? `code ${code}`));
  });
  program.ended.then((how) => {
    if (stopping) return;
    if (program.mayEnd) running.splice(running.indexOf(program), 1);
    else stop(1, `${name} has ended (${how}). Its last words:\n\n  ${tail(log)}\n`);
  });
  running.push(program);
  return program;
}

/** Ends the program of this name, if it runs, without asking it. */
export function kill(name) {
  const program = running.find((one) => one.name === name);
  if (!program) return;
  program.mayEnd = true;
  program.child.kill('SIGKILL');
}

/** Stops everything, last started first, waits for it, and exits. */
export async function stop(code, reason) {
  if (stopping) return;
  stopping = true;
  if (reason) say(`\n${reason}`);
  for (const { child, ended } of running.reverse()) {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), GRACE);
    await ended;
    clearTimeout(timer);
  }
  if (code === 0 && folder) rmSync(folder, { recursive: true, force: true });
  if (code !== 0 && folder) say(`Configurations and logs are in ${folder}`);
  process.exit(code);
}

/** Tries `probe` until it succeeds; the program must answer within READY. */
export async function ready(program, probe) {
  const deadline = Date.now() + READY;
  while (!stopping) {
    if (await probe()) return;
    if (Date.now() > deadline) {
      await stop(1, `${program.name} does not answer. Its last words:\n\n  ${tail(program.log)}\n`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await new Promise(() => {}); // stop() ends the process
}

export const hasPrinted = (program, text) => () => readFileSync(program.log, 'utf8').includes(text);

/** Whether an XMPP server of `domain` answers a stream header on `port`. */
export function answersStream(port, domain) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`<stream:stream to='${domain}' version='1.0' xmlns='jabber:client' `
        + "xmlns:stream='http://etherx.jabber.org/streams'>");
    });
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('data', () => socket.end(resolve(true)));
    socket.on('error', () => {});
    socket.on('close', () => resolve(false));
  });
}

/** Free ports, the preferred ones where possible; all are held until the last has been found. */
export async function freePorts(preferred) {
  const bind = (port) => new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
  const servers = [];
  for (const port of preferred) servers.push(await bind(port).catch(() => bind(0)));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Runs a command to its end, in sight; stopping ends it as it ends the others. */
export async function run(command, args, cwd) {
  const child = spawn(command, args, { cwd, stdio: 'inherit' });
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', resolve);
  });
  running.push({ child, ended });
  const how = await ended;
  if (how !== 0) await stop(1, `${command} ${args[0]} has ended (${how})`);
  running.pop();
}
