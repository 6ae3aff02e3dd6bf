import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer, wideLimits } from '../http/running-server.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';

/** What PostgreSQL refuses in text, and what it reads as something else. */
const unusual = ['a\0b', '\0', '\ud83d', 'x\udca9', '\uFDD0', '\\u0000', '%00', "'; DROP TABLE x; --", '😀', '{"a":1}'];

describe.skipIf(!hasPostgres())('the HTTP face over PostgreSQL', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let server: RunningServer;
  beforeAll(async () => {
    file = await postgresForFile();
    const store = await file.open();
    server = await startServer({ file: { apps: { default: { limits: wideLimits } } }, parts: { store } });
  });
  afterAll(async () => {
    await server.close();
    await file.close();
  });

  it('answers whatever text is in a field, and nothing with a 500', async () => {
    const { id, code } = await server.start('+998901234567', { purpose: 'pay', subject: 'ada' });
    const broken: string[] = [];
    for (const text of unusual) {
      const to = '+998901234568';
      const asks: Record<string, [string, string, object]> = {
        purpose: ['POST', '/v1/verifications', { to, purpose: text }],
        subject: ['POST', '/v1/verifications', { to, subject: text }],
        metadata: ['POST', '/v1/verifications', { to, metadata: { k: text, [text]: 'v' } }],
        'metadata value': ['POST', '/v1/verifications', { to, metadata: { k: text } }],
        to: ['POST', '/v1/verifications', { to: text }],
        email: ['POST', '/v1/verifications', { to: `${text}@example.com`, channel: 'email' }],
        locale: ['POST', '/v1/verifications', { to, locale: text }],
        client_ip: ['POST', '/v1/verifications', { to, client_ip: text }],
        'code by id': ['POST', `/v1/verifications/${id}/check`, { code: text }],
        'subject of a check': ['POST', `/v1/verifications/${id}/check`, { code, subject: text, purpose: text }],
        'check by number': ['POST', '/v1/check', { to, code: '123456', purpose: text, subject: text }],
        message: ['POST', '/v1/messages', { to, text }],
        'id in a path': ['GET', `/v1/verifications/${encodeURIComponent(text.toWellFormed())}`, {}],
        'message in a path': ['GET', `/v1/messages/${encodeURIComponent(text.toWellFormed())}`, {}],
      };
      for (const [name, [method, path, body]] of Object.entries(asks)) {
        const ask = method === 'GET' ? {} : { body };
        const { status, json } = await server.call(method, path, { ...ask, key: await server.keyOf() });
        // `no-provider` is a 503 too: nobody sends e-mail here.
        if (status === 500 || json['code'] === 'store-unavailable') broken.push(`${name}: ${JSON.stringify(text)}`);
      }
    }
    expect(broken).toEqual([]);
  });

  it('keeps metadata with NUL in it as it was given', async () => {
    const { id } = await server.start('+998901234569', { metadata: { order: 'a\0b' } });
    const { json } = await server.call('GET', `/v1/verifications/${id}`);
    expect(json['metadata']).toEqual({ order: 'a\0b' });
  });
});
