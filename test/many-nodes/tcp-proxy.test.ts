import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TcpProxy } from '../../faults/nodes/tcp-proxy.ts';

let server: Server;
let proxy: TcpProxy;
const received: string[] = [];
const accepted: Socket[] = [];

beforeEach(async () => {
  received.length = 0;
  accepted.length = 0;
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      received.push(String(bytes));
      socket.write(bytes);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await TcpProxy.open((server.address() as { port: number }).port);
});
afterEach(async () => {
  await proxy.close();
  for (const socket of accepted) socket.destroy();
  server.close();
});

async function caller() {
  const socket = connect(proxy.port, '127.0.0.1');
  let heard = '';
  socket.setEncoding('utf8').on('data', (text: string) => (heard += text));
  const ended = new Promise<string>((resolve) => {
    socket.on('error', ({ message }) => resolve(message)).on('close', () => resolve('closed'));
  });
  await once(socket, 'connect');
  return { socket, ended, heard: () => heard };
}

describe('the proxy between nodes and servers', () => {
  // Answers that changed places looked like a store that mixes up its callers.
  it('keeps the order of answers when it becomes slow, and when it is no longer', async () => {
    const { socket, heard } = await caller();
    for (const [index, mode] of (['pass', 'slow', 'pass', 'slow', 'pass'] as const).entries()) {
      proxy.mode = mode === 'slow' ? { kind: 'slow', delayMs: 50 } : { kind: 'pass' };
      socket.write(`${index} `);
      await expect.poll(() => received.length).toBe(index + 1);
    }
    await expect.poll(heard).toBe('0 1 2 3 4 ');
    socket.destroy();
  });

  it('lets nothing through while it is silent, and everything afterwards', async () => {
    proxy.mode = { kind: 'silent' };
    const { socket, heard } = await caller();
    socket.write('sent into silence');
    await delay(60);
    expect(received).toEqual([]);
    proxy.mode = { kind: 'pass' };
    await expect.poll(heard).toBe('sent into silence');
    socket.destroy();
  });

  it('cuts a connection in the place of an answer to what the server has done', async () => {
    proxy.mode = { kind: 'lose-answers', share: 1 };
    const { socket, ended, heard } = await caller();
    socket.write('done');
    expect(await ended).toMatch(/ECONNRESET/);
    expect([received, heard()]).toEqual([['done'], '']);
  });

  it('leads to another server from a moment on, and cuts what led to the first', async () => {
    const { ended } = await caller();
    const other = createServer((socket) => socket.end('the other one')).listen(0, '127.0.0.1');
    await once(other, 'listening');
    await expect.poll(() => accepted.length).toBe(1);
    proxy.leadTo((other.address() as { port: number }).port);
    expect(await ended).toMatch(/ECONNRESET/);
    const next = await caller();
    await expect.poll(next.heard).toBe('the other one');
    next.socket.destroy();
    other.close();
  });
});
