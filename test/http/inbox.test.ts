import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { OutgoingMessage } from '../../src/domain/provider.ts';
import { inboxRoutes } from '../../src/http/routes/inbox.ts';
import { createInbox, type Inbox } from '../../src/providers/inbox.ts';

const T0 = Date.UTC(2026, 0, 15, 12);
const example = { to: '+12125550123', url: 'https://verify.example/v1/verifications' };

let pagesDirectory: string;
let inbox: Inbox;
let app: FastifyInstance;

beforeEach(async () => {
  pagesDirectory = await mkdtemp(join(tmpdir(), 'inbox-pages-'));
  await mkdir(join(pagesDirectory, 'assets'));
  await writeFile(join(pagesDirectory, 'inbox.html'), '<!doctype html><title>Inbox</title>');
  await writeFile(join(pagesDirectory, 'assets', 'inbox-1a2b3c.js'), 'export {};');
  inbox = createInbox({ now: () => T0 });
  app = Fastify();
  await app.register(inboxRoutes(inbox, { pagesDirectory, example: () => example, allowedHosts: ['dev.example'] }));
});

afterEach(async () => {
  vi.useRealTimers();
  await app.close();
  await rm(pagesDirectory, { recursive: true });
});

describe('the inbox page', () => {
  it('allows no inline script or style, no framing and no other origin', async () => {
    const { headers } = await app.inject('/inbox');
    const policy = String(headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("style-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
  });

  it('is never cached, its hashed assets for ever', async () => {
    const page = await app.inject('/inbox');
    expect(page.statusCode).toBe(200);
    expect(page.headers).toMatchObject({ 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    const asset = await app.inject('/inbox/assets/inbox-1a2b3c.js');
    expect(asset.statusCode).toBe(200);
    expect(asset.headers['content-type']).toContain('/javascript;');
    expect(asset.headers['cache-control']).toBe('public, max-age=31536000, immutable');
  });

  it('does not let a missing asset be cached', async () => {
    const asset = await app.inject('/inbox/assets/gone.js');
    expect(asset.statusCode).toBe(404);
    expect(asset.headers['cache-control']).toBe('no-store');
  });

  it('serves nothing outside the assets', async () => {
    for (const path of ['../inbox.html', '..%2finbox.html', '%2e%2e/inbox.html']) {
      const { statusCode, body } = await app.inject(`/inbox/assets/${path}`);
      expect(body).not.toContain('<title>Inbox</title>');
      expect(statusCode).toBeGreaterThanOrEqual(400);
    }
  });

  it('says what to run while it is not built', async () => {
    await rm(join(pagesDirectory, 'inbox.html'));
    const { statusCode, body } = await app.inject('/inbox');
    expect(statusCode).toBe(503);
    expect(body).toContain('npm start');
  });

  it('has one address, without a slash at its end', async () => {
    const { statusCode, headers } = await app.inject('/inbox/');
    expect(statusCode).toBe(308);
    expect(headers.location).toBe('../inbox');
  });
});

describe('GET /inbox/api/messages', () => {
  it('lists the newest message first, with its code and formatted number', async () => {
    await send({ to: '+12125550123', text: 'Your code: 123456' });
    await send({ to: '+998901234567', text: 'Your driver is here', locale: 'uz', channel: 'whatsapp' });
    const { messages } = (await app.inject('/inbox/api/messages')).json();
    expect(messages).toEqual([
      {
        id: expect.any(String),
        message_id: 'msg_2',
        at: '2026-01-15T12:00:00.000Z',
        to: '+998901234567',
        to_formatted: '+998 90 123 45 67',
        channel: 'whatsapp',
        locale: 'uz',
        text: 'Your driver is here',
      },
      expect.objectContaining({ to: '+12125550123', to_formatted: '+1 212 555 0123', code: '123456' }),
    ]);
  });

  it('keeps to one number when asked to, however it is spelled', async () => {
    await send({ to: '+12125550123', text: '123456' });
    await send({ to: '+966501234567', text: '654321' });
    for (const number of ['+966 50 123 4567', '0501234567', '00966501234567', '٠٥٠١٢٣٤٥٦٧']) {
      const { messages } = (await app.inject({ url: '/inbox/api/messages', query: { number } })).json();
      expect(messages, number).toEqual([expect.objectContaining({ to: '+966501234567' })]);
    }
  });

  it('carries the example of the empty page, with a key only where one is needed', async () => {
    expect((await app.inject('/inbox/api/messages')).json()).toEqual({ messages: [], example });
  });
});

describe('DELETE /inbox/api/messages', () => {
  it('empties the inbox', async () => {
    await send({ text: '123456' });
    const { statusCode, body } = await app.inject({ method: 'DELETE', url: '/inbox/api/messages' });
    expect([statusCode, body]).toEqual([204, '']);
    expect(inbox.list()).toEqual([]);
  });
});

describe('GET /inbox/api/events', () => {
  it('tells of each new message, and how soon to come back', async () => {
    const events = await openEvents();
    expect(await events.until('\n\n')).toBe('retry: 1000\n\n');
    await send({ to: '+12125550123', text: 'Your code:\n123456' });
    const frame = await events.until('\n\n');
    const [id, event, data] = frame.trimEnd().split('\n');
    expect(id).toBe(`id: ${inbox.list()[0]?.id}`);
    expect(event).toBe('event: message');
    expect(JSON.parse(String(data).slice('data: '.length))).toMatchObject({
      text: 'Your code:\n123456',
      code: '123456',
    });
  });

  it('replays what came after Last-Event-ID, and nothing before it', async () => {
    for (const text of ['1111', '2222', '3333']) await send({ text });
    const events = await openEvents({ 'last-event-id': String(inbox.list()[2]?.id) });
    await events.until('\n\n');
    expect(await events.until('\n\n')).toContain('"code":"2222"');
    expect(await events.until('\n\n')).toContain('"code":"3333"');
  });

  it('replays everything to a reader of an earlier run', async () => {
    for (const text of ['1111', '2222']) await send({ text });
    const events = await openEvents({ 'last-event-id': 'earlier-7' });
    await events.until('\n\n');
    expect(await events.until('\n\n')).toContain('"code":"1111"');
    expect(await events.until('\n\n')).toContain('"code":"2222"');
  });

  it('tells a reader who was away that the inbox was cleared', async () => {
    await send({ text: '1111' });
    const seen = String(inbox.list()[0]?.id);
    inbox.clear();
    await send({ text: '2222' });
    const events = await openEvents({ 'last-event-id': seen });
    await events.until('\n\n');
    expect(await events.until('\n\n')).toContain('event: cleared');
    expect(await events.until('\n\n')).toContain('"code":"2222"');
  });

  it('sends a heartbeat every 15 seconds', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const events = await openEvents();
    await events.until('\n\n');
    vi.advanceTimersByTime(15_000);
    expect(await events.until('\n\n')).toBe(': ping\n\n');
  });

  it('does not hold up a graceful stop', async () => {
    const readers = [await openEvents(), await openEvents()];
    for (const reader of readers) await reader.until('\n\n');
    const startedAt = performance.now();
    await app.close();
    expect(performance.now() - startedAt).toBeLessThan(1000);
    for (const reader of readers) await reader.end();
  });

  it('forgets a reader who left', async () => {
    const unsubscribe = vi.fn();
    const leaving = Fastify();
    const watched = { ...inbox, subscribe: () => unsubscribe };
    await leaving.register(inboxRoutes(watched, { pagesDirectory, example: () => example }));
    const events = await openEvents({}, leaving);
    await events.until('\n\n');
    events.leave();
    await vi.waitFor(() => expect(unsubscribe).toHaveBeenCalledOnce());
    await leaving.close();
  });
});

describe('the guard of the inbox', () => {
  const paths = ['/inbox', '/inbox/assets/inbox-1a2b3c.js', '/inbox/api/messages', '/inbox/api/events'];

  it('refuses a foreign host name, which may have been pointed at this machine', async () => {
    await send({ text: '123456' });
    for (const host of ['attacker.example', 'localhost.attacker.example', '127.0.0.1.attacker.example', '[']) {
      for (const url of paths) {
        const { statusCode, body } = await app.inject({ url, headers: { host } });
        expect([statusCode, body.includes('123456')], `${host} ${url}`).toEqual([403, false]);
      }
    }
  });

  it('does not believe a forwarded host name', async () => {
    const headers = { host: 'attacker.example', 'x-forwarded-host': 'localhost' };
    expect((await app.inject({ url: '/inbox/api/messages', headers })).statusCode).toBe(403);
  });

  it('refuses another machine that calls itself localhost', async () => {
    const request = { url: '/inbox/api/messages', headers: { host: 'localhost' } };
    expect((await app.inject({ ...request, remoteAddress: '198.51.100.9' })).statusCode).toBe(403);
    expect((await app.inject({ ...request, remoteAddress: '::ffff:127.0.0.1' })).statusCode).toBe(200);
  });

  it('lets a foreign host name clear nothing', async () => {
    await send({ text: '123456' });
    const headers = { host: 'attacker.example' };
    await app.inject({ method: 'DELETE', url: '/inbox/api/messages', headers });
    expect(inbox.list()).toHaveLength(1);
  });

  it('answers under this machine’s own names and the configured ones, on any port', async () => {
    for (const host of [
      'localhost',
      'localhost:8080',
      '127.0.0.1:1',
      '[::1]:8080',
      'verify.example',
      'dev.example:443',
    ]) {
      expect((await app.inject({ url: '/inbox/api/messages', headers: { host } })).statusCode, host).toBe(200);
    }
  });
});

let sent = 0;
beforeEach(() => {
  sent = 0;
});

async function send(message: { to?: string } & Partial<Omit<OutgoingMessage, 'to'>>) {
  sent += 1;
  const { to = '+12125550123', ...more } = message;
  const whole: OutgoingMessage = {
    messageId: `msg_${sent}`,
    to: to as PhoneNumber,
    channel: 'sms',
    brand: 'Acme',
    locale: 'en',
    text: '',
    validitySeconds: 300,
    ...more,
  };
  await inbox.send(whole, new AbortController().signal);
}

/** A reader of the events over a real socket. */
async function openEvents(headers: Record<string, string> = {}, server: FastifyInstance = app) {
  if (!server.server.listening) await server.listen({ port: 0, host: '127.0.0.1' });
  const { port } = server.server.address() as AddressInfo;
  const { promise, resolve, reject } = Promise.withResolvers<import('node:http').IncomingMessage>();
  const request = httpRequest({ port, host: '127.0.0.1', path: '/inbox/api/events', headers }, resolve);
  request.on('error', reject).end();
  const response = await promise;
  expect(response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  const chunks = response.setEncoding('utf8').iterator({ destroyOnReturn: false });
  let read = '';
  return {
    /** What comes up to and with `mark`. */
    async until(mark: string): Promise<string> {
      while (!read.includes(mark)) {
        const { value, done } = await chunks.next();
        if (done) throw new Error(`the events ended before '${mark}'; read: ${read}`);
        read += value;
      }
      const end = read.indexOf(mark) + mark.length;
      const found = read.slice(0, end);
      read = read.slice(end);
      return found;
    },
    async end(): Promise<void> {
      while (!(await chunks.next()).done);
    },
    leave: () => void response.destroy(),
  };
}
