import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import { accepted } from '../../src/provider-kit/define-provider.ts';
import { problem, problemOf, speak } from './http-client.ts';
import { type RunningServer, startServer } from './running-server.ts';

const to = '+998901234567';
const opened: RunningServer[] = [];
const open = async (setup?: Parameters<typeof startServer>[0]) => {
  const server = await startServer(setup);
  opened.push(server);
  return server;
};
afterEach(async () => {
  for (const server of opened.splice(0)) await server.close();
});

describe('15. a store that cannot be written', () => {
  it('is 503 with Retry-After for whoever asks, sends nothing, and is good again by itself', async () => {
    const server = await open();
    expect(await server.call('GET', '/readyz')).toMatchObject({ status: 200, json: { status: 'ok' } });
    const { id, code } = await server.start(to);
    const sentBefore = server.phone.sent.length;
    // Another process that holds the write lock, such as a backup gone wrong.
    const blocker = new DatabaseSync(join(server.dataDir, 'countersign.db'));
    blocker.exec('BEGIN IMMEDIATE');
    const asked = [
      server.call('GET', '/readyz'),
      server.call('POST', '/v1/verifications', { body: { to: '+998901234568' } }),
      server.call('POST', `/v1/verifications/${id}/check`, { body: { code } }),
      server.call('POST', '/v1/check', { body: { to, code } }),
      server.call('DELETE', `/v1/verifications/${id}`),
      server.call('POST', '/v1/messages', { body: { to, text: 'a' } }),
    ];
    for (const answer of await Promise.all(asked)) {
      expect(problemOf(answer)).toEqual(problem(503, 'store-unavailable'));
      expect(answer.headers['retry-after']).toBe('2');
      expect(answer.text).not.toMatch(/sqlite|countersign\.db|is locked/i);
    }
    expect((await server.call('GET', '/healthz')).status).toBe(200);
    expect(server.phone.sent).toHaveLength(sentBefore);
    expect(server.logged.some((line) => line.includes('"error"') && line.includes('store unavailable'))).toBe(true);
    blocker.exec('ROLLBACK');
    blocker.close();
    expect((await server.call('GET', '/readyz')).status).toBe(200);
    expect((await server.call('POST', `/v1/verifications/${id}/check`, { body: { code } })).status).toBe(200);
  });

  it('does not say that nothing was sent when it fails after the sending', async () => {
    const server = await open();
    const blocker = new DatabaseSync(join(server.dataDir, 'countersign.db'));
    server.phone.behave(({ messageId }) => {
      blocker.exec('BEGIN IMMEDIATE');
      return accepted(messageId);
    });
    const answer = await server.call('POST', '/v1/verifications', { body: { to } });
    blocker.exec('ROLLBACK');
    blocker.close();
    expect(problemOf(answer)).toEqual(problem(503, 'store-unavailable'));
    expect(answer.json['detail']).not.toMatch(/nothing was sent/i);
    expect(server.phone.sent).toHaveLength(1);
    // The code that went out is known, and approves.
    expect((await server.call('POST', '/v1/check', { body: { to, code: server.codeFor(to) } })).status).toBe(200);
  });
});

describe('/metrics', () => {
  it('is text that Prometheus reads, with routes, statuses and providers as its only labels', async () => {
    const server = await open();
    const { id, code } = await server.start(to);
    await server.call('POST', `/v1/verifications/${id}/check`, { body: { code } });
    await server.call('GET', `/v1/numbers/${to}`);
    await server.call('GET', `/nowhere/${to}`);
    await server.call('GET', `/v1/verifications/${id}?code=${code}`);
    const { status, headers, text } = await server.call('GET', '/metrics');
    expect(status).toBe(200);
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    const label = '[a-z_]+="(?:[^"\\\\\\n]|\\\\.)*"';
    const line = new RegExp(
      `^(?:|# (?:HELP|TYPE) [a-z_]+ .*|[a-z_]+(?:\\{${label}(?:,${label})*\\})? -?[0-9.e+Inf-]+)$`,
    );
    const lines = text.trimEnd().split('\n');
    expect(lines.filter((one) => !line.test(one))).toEqual([]);
    expect(new Set([...text.matchAll(/([a-z_]+)="/g)].map(([, name]) => name))).toEqual(
      new Set(['method', 'route', 'status', 'le', 'provider', 'country']),
    );
    expect(text).toContain('route="/v1/verifications/:id/check",status="200"');
    expect(text).toContain('route="none",status="404"');
    for (const secret of [code, id, to, to.slice(1), to.slice(4)]) expect(text).not.toContain(secret);
  });

  it('grows by no series for paths and methods that somebody makes up', async () => {
    const server = await open();
    const series = async () => (await server.call('GET', '/metrics')).text.split('\n').length;
    await server.call('GET', '/made-up');
    await series();
    const before = await series();
    for (let index = 0; index < 50; index += 1) await server.call('GET', `/made-up-${index}`);
    expect(await series()).toBe(before);
  });
});

describe('a graceful stop', () => {
  it('lets a request under way finish, takes no new connection, and does not wait for idle ones', async () => {
    const server = await open();
    const { promise: taken, resolve: take } = Promise.withResolvers<void>();
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
    server.phone.behave(async ({ messageId }) => {
      reach();
      await taken;
      return accepted(messageId);
    });
    // Idle keep-alive connections, one that never said a word, and a page that reads events.
    await Promise.all(Array.from({ length: 10 }, () => server.call('GET', '/healthz')));
    const silent = connect(Number(new URL(server.origin).port), '127.0.0.1');
    silent.on('error', () => {});
    const events = await openEvents(server.origin);
    const underWay = server.call('POST', '/v1/verifications', { body: { to } });
    await reached;
    const startedAt = performance.now();
    const stopped = server.server.close().then(() => performance.now() - startedAt);
    await events.ended;
    await expect(server.call('GET', '/healthz', { headers: { connection: 'close' } })).rejects.toThrow(
      /ECONNREFUSED|ECONNRESET|socket hang up/,
    );
    take();
    expect((await underWay).status).toBe(201);
    expect(await stopped).toBeLessThan(1500);
    silent.destroy();
  });

  it('answers what is pipelined behind a request under way, or closes: never half an answer', async () => {
    const server = await open();
    const body = JSON.stringify({ to });
    let stopping: Promise<void> | undefined;
    server.phone.behave(async ({ messageId }) => {
      stopping = server.server.close();
      return accepted(messageId);
    });
    const heard = await speak(
      server.origin,
      `POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n',
    );
    await stopping;
    expect(heard).toMatch(/^HTTP\/1\.1 201 /);
    const answers = heard.split(/(?=HTTP\/1\.1 )/);
    for (const answer of answers) {
      const [head = '', content = ''] = answer.split('\r\n\r\n');
      expect(Buffer.byteLength(content)).toBe(Number(/content-length: (\d+)/i.exec(head)?.[1]));
    }
  });
});

/** Reads the inbox's events until the server ends them. */
async function openEvents(origin: string): Promise<{ readonly ended: Promise<void> }> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  await new Promise<void>((resolve, reject) => {
    request(`${origin}/inbox/api/events`, (response) => {
      response.resume();
      response.on('close', end);
      resolve();
    })
      .on('error', reject)
      .end();
  });
  return { ended };
}
