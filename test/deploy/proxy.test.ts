import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort, makeServerDirectory, type ServerDirectory } from '../servers/machine.ts';
import { ServerProcess } from '../servers/server-process.ts';
import { findNginx } from './needed-programs.ts';

const source = fileURLToPath(new URL('../../deploy/nginx', import.meta.url));
const nginx = findNginx();

/** Stands for a node: it keeps what it was asked, and does as it is told. */
type Node = { readonly server: Server; readonly seen: IncomingHttpHeaders[]; behaviour: 'answer' | 'hang up' };

describe.skipIf(nginx === null).each(['nginx.conf', 'compose.conf'])('the proxy of deploy/nginx/%s', (main) => {
  const nodes: Node[] = [];
  let directory: ServerDirectory;
  let proxy: ServerProcess;
  let origin: string;

  beforeAll(async () => {
    nodes.push(await startNode(), await startNode());
    directory = makeServerDirectory('proxy', undefined);
    cpSync(source, directory.path, { recursive: true });
    const port = await freePort();
    const places = nodes.map(({ server }) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
    for (const name of readdirSync(directory.path)) {
      const file = join(directory.path, name);
      let count = 0;
      const text = readFileSync(file, 'utf8')
        .replace(/^ {2}listen 8080;/m, `  listen 127.0.0.1:${port};`)
        .replaceAll(/(?<=^ {2}server )\S+(?= max_fails)/gm, () => places[count++] ?? '');
      writeFileSync(file, text);
    }
    const args = ['-e', 'stderr', '-p', `${directory.path}/`, '-c', main, '-g', 'daemon off;'];
    proxy = new ServerProcess({
      program: nginx ?? '',
      args,
      cwd: directory.path,
      account: undefined,
      lastSignal: 'SIGTERM',
    });
    origin = `http://127.0.0.1:${port}`;
    await proxy.untilAnswers(async () => void (await fetch(`${origin}/proxy/healthz`)), 10_000);
  });

  afterAll(async () => {
    await proxy.end('SIGTERM');
    await directory.remove();
    for (const { server } of nodes) {
      server.close();
      server.closeAllConnections();
    }
  });

  beforeEach(() => {
    for (const node of nodes) {
      node.seen.splice(0);
      node.behaviour = 'answer';
    }
  });

  const allSeen = () => nodes.flatMap(({ seen }) => seen);

  it('tells the nodes the address of the caller, whatever the caller claims', async () => {
    const forged = {
      'X-Forwarded-For': '203.0.113.7',
      'X-Forwarded-Host': 'evil.example',
      'X-Forwarded-Proto': 'https',
    };
    expect((await fetch(`${origin}/v1/verifications`, { method: 'POST', headers: forged, body: '{}' })).status).toBe(
      201,
    );
    const [headers] = allSeen();
    expect(headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      host: new URL(origin).host,
    });
    expect(headers).not.toHaveProperty('x-forwarded-host');
  });

  it('shares requests out, and keeps the metrics to the nodes', async () => {
    for (let count = 0; count < 8; count += 1) await fetch(`${origin}/readyz`);
    expect(nodes.map(({ seen }) => seen.length > 0)).toEqual([true, true]);
    expect((await fetch(`${origin}/metrics`)).status).toBe(404);
    expect(allSeen()).toHaveLength(8);
  });

  it('sends no POST to a second node when the first has hung up with it', async () => {
    for (const node of nodes) node.behaviour = 'hang up';
    expect((await fetch(`${origin}/v1/check`, { method: 'POST', body: '{}' })).status).toBe(502);
    expect(allSeen()).toHaveLength(1);
  });

  it('refuses a body that no node would take', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const asked = request(`${origin}/v1/check`, { method: 'POST', headers: { 'content-length': 20_000 } });
      asked.once('response', ({ statusCode }) => {
        resolve(statusCode);
        asked.destroy();
      });
      asked.once('error', reject).flushHeaders();
    });
    expect([status, allSeen()]).toEqual([413, []]);
  });

  it('passes by a node that is gone, with POSTs too, and says nothing of single requests', async () => {
    const [first] = nodes;
    first?.server.close();
    first?.server.closeAllConnections();
    const statuses = [];
    for (let count = 0; count < 6; count += 1)
      statuses.push((await fetch(`${origin}/v1/numbers/+998901234567`, { method: 'POST', body: '{}' })).status);
    expect(statuses).toEqual([201, 201, 201, 201, 201, 201]);
    expect(proxy.log).not.toContain('+998901234567');
  });
});

async function startNode(): Promise<Node> {
  const seen: IncomingHttpHeaders[] = [];
  const server = createServer((incoming, answer) => {
    seen.push(incoming.headers);
    incoming.resume();
    if (node.behaviour === 'hang up') incoming.socket.destroy();
    else answer.writeHead(201).end('{}');
  });
  const node: Node = { server, seen, behaviour: 'answer' };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return node;
}
